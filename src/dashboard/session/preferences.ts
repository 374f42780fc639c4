import { computed, effect, signal } from '@preact/signals';
import { chinese } from '../text/chinese.ts';
import { english, type Text } from '../text/english.ts';

export type Language = 'en' | 'zh';
export type Theme = 'system' | 'light' | 'dark';

const texts: Readonly<Record<Language, Text>> = { en: english, zh: chinese };
const languageKey = 'entrepot-language';
const themeKey = 'entrepot-theme';

/** What the person likes: kept by the browser, else what browser and system say. */
export class Preferences {
  readonly language;
  readonly theme;
  readonly text = computed(() => texts[this.language.value]);

  constructor(storage: Storage) {
    this.language = signal<Language>(
      languageOf(storage.getItem(languageKey) ?? navigator.language),
    );
    this.theme = signal<Theme>(themeOf(storage.getItem(themeKey)));
    effect(() => {
      document.documentElement.lang = this.language.value === 'zh' ? 'zh-CN' : 'en';
    });
    effect(() => {
      document.documentElement.dataset['theme'] = this.theme.value;
    });
    this.#storage = storage;
  }

  readonly #storage: Storage;

  chooseLanguage(language: Language): void {
    this.#storage.setItem(languageKey, language);
    this.language.value = language;
  }

  chooseTheme(theme: Theme): void {
    this.#storage.setItem(themeKey, theme);
    this.theme.value = theme;
  }
}

function languageOf(tag: string): Language {
  return tag.toLowerCase().startsWith('zh') ? 'zh' : 'en';
}

function themeOf(text: string | null): Theme {
  return text === 'light' || text === 'dark' ? text : 'system';
}
