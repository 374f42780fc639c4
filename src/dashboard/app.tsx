import { useEffect, useRef } from 'preact/hooks';
import { Header } from './header.tsx';
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
    const heading = main.current?.querySelector('h1');
    if (heading instanceof HTMLElement) document.title = `${heading.textContent} – Entrepot`;
    if (shown.current === address) return;
    shown.current = address;
    scrollTo(0, 0);
    // Who hears the page hears where it is now.
    heading?.focus();
  });
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
    default:
      return <NotFoundPage />;
  }
}
