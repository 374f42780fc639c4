import { useEffect, useRef } from 'preact/hooks';
import { Header } from './header.tsx';
import { ContentPage } from './pages/content/content-page.tsx';
import { ManifestPage } from './pages/content/manifest-page.tsx';
import { RepositoryPage } from './pages/content/repository-page.tsx';
import { JobsPage } from './pages/jobs/jobs-page.tsx';
import { RunPage } from './pages/jobs/run-page.tsx';
import { SetUpPage } from './pages/set-up-page.tsx';
import { SettingsPage } from './pages/settings-page.tsx';
import { SitesPage } from './pages/sites-page.tsx';
import { UpstreamsPage } from './pages/upstreams-page.tsx';
import { OverviewPage } from './pages/overview/overview-page.tsx';
import { NotFoundPage } from './pages/not-found-page.tsx';
import { UnlockPage } from './pages/unlock-page.tsx';
import { useSession, useText } from './session/context.tsx';
import type { Place } from './session/route.ts';

/** The whole page: header, what is wrong with the connection, and the page of the address. */
export function App() {
  const { api, live, route } = useSession();
  const text = useText();
  const main = useRef<HTMLElement>(null);
  const place = route.place.value;
  const isLocked = api.isLocked.value;
  const address = [place.page, ...place.parts].join('/');
  const shown = useRef(address);
  useEffect(() => {
    if (shown.current === address) return;
    shown.current = address;
    scrollTo(0, 0);
    // Who hears the page hears where it is now.
    main.current?.querySelector('h1')?.focus();
  }, [address]);
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          main.current?.focus();
        }}
      >
        {text.shell.skip}
      </a>
      <Header page={place.page} />
      {!isLocked && live.lostAtMs.value !== undefined && (
        <p class="banner" role="alert">
          {text.shell.lost}
        </p>
      )}
      <main id="main" ref={main} tabIndex={-1}>
        {isLocked ? <UnlockPage /> : <Page key={address} place={place} />}
      </main>
    </>
  );
}

function Page({ place }: { readonly place: Place }) {
  switch (place.page) {
    case '':
      return <OverviewPage />;
    case 'content':
      return <ContentPages parts={place.parts} />;
    case 'upstreams':
      return <UpstreamsPage />;
    case 'jobs': {
      const [id] = place.parts;
      return id === undefined ? <JobsPage /> : <RunPage id={id} />;
    }
    case 'sites':
      return <SitesPage />;
    case 'settings':
      return <SettingsPage />;
    case 'set-up':
      return <SetUpPage />;
    default:
      return <NotFoundPage />;
  }
}

function ContentPages({ parts }: { readonly parts: readonly string[] }) {
  const [name, digest] = parts;
  if (name === undefined) return <ContentPage />;
  if (digest === undefined) return <RepositoryPage name={name} />;
  return <ManifestPage name={name} digest={digest} />;
}
