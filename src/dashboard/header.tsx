import { useSignal } from '@preact/signals';
import icon from './icon.svg';
import { useSession, useText } from './session/context.tsx';
import type { Language, Theme } from './session/preferences.ts';
import { linkTo } from './session/route.ts';

const pages = [
  ['', 'overview'],
  ['content', 'content'],
  ['upstreams', 'upstreams'],
  ['jobs', 'jobs'],
  ['sites', 'sites'],
  ['settings', 'settings'],
  ['set-up', 'setUp'],
] as const;

const themes: readonly Theme[] = ['system', 'light', 'dark'];

/** Names in their own language: who cannot read the page finds his. */
const languages: readonly (readonly [Language, string])[] = [
  ['en', 'English'],
  ['zh', '中文'],
];

/** The name, the pages, and how the person likes them. On narrow screens behind a button. */
export function Header({ page }: { readonly page: string }) {
  const { api, live, preferences } = useSession();
  const text = useText();
  const isOpen = useSignal(false);
  const version = live.stats.value?.version;
  return (
    <header class="header">
      <a class="brand" href={linkTo('')}>
        <img src={icon} alt="" width="24" height="24" />
        <span>Entrepot {version !== undefined && <small class="version">{version}</small>}</span>
      </a>
      <button
        type="button"
        class="menu-button"
        aria-expanded={isOpen.value}
        aria-controls="menu"
        onClick={() => {
          isOpen.value = !isOpen.value;
        }}
      >
        {text.shell.menu}
      </button>
      <div id="menu" class={isOpen.value ? 'menu open' : 'menu'}>
        <nav aria-label={text.shell.pages}>
          <ul>
            {pages.map(([name, label]) => (
              <li key={name}>
                <a
                  href={linkTo(name)}
                  aria-current={name === page ? 'page' : undefined}
                  onClick={() => {
                    isOpen.value = false;
                  }}
                >
                  {text.nav[label]}
                </a>
              </li>
            ))}
          </ul>
        </nav>
        <div class="preferences">
          <label>
            <span>{text.shell.language}</span>
            <select
              value={preferences.language.value}
              onChange={({ currentTarget }) =>
                preferences.chooseLanguage(currentTarget.value as Language)
              }
            >
              {languages.map(([language, name]) => (
                <option key={language} value={language} lang={language}>
                  {name}
                </option>
              ))}
            </select>
          </label>
          <label>
            <span>{text.shell.theme}</span>
            <select
              value={preferences.theme.value}
              onChange={({ currentTarget }) =>
                preferences.chooseTheme(currentTarget.value as Theme)
              }
            >
              {themes.map((theme) => (
                <option key={theme} value={theme}>
                  {text.shell.themes[theme]}
                </option>
              ))}
            </select>
          </label>
          {!api.usesToken && <a href="docs/">{text.shell.api}</a>}
        </div>
      </div>
    </header>
  );
}
