import { render } from 'preact';
import 'uplot/dist/uPlot.min.css';
import './styles/theme.css';
import './styles/layout.css';
import './styles/parts.css';
import './styles/controls.css';
import './styles/tables.css';
import './styles/pages.css';
import { App } from './app.tsx';
import { AdminApi } from './session/admin-api.ts';
import { SessionContext } from './session/context.tsx';
import { Live } from './session/live.ts';
import { Preferences } from './session/preferences.ts';
import { Route } from './session/route.ts';

const api = new AdminApi(sessionStorage);
const live = new Live(api);
const session = { api, live, preferences: new Preferences(localStorage), route: new Route() };
live.start();

render(
  <SessionContext.Provider value={session}>
    <App />
  </SessionContext.Provider>,
  document.body,
);
