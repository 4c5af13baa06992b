/** What the user chose for this browser. Nothing secret: it stays after signing out. */

import { effect, signal } from '@preact/signals';
import { LANGUAGES, type Language, language, preferredLanguage } from '../i18n';

export const THEMES = ['auto', 'light', 'dark'] as const;
export type Theme = (typeof THEMES)[number];

const LANGUAGE_KEY = 'atalaia.language';
const THEME_KEY = 'atalaia.theme';

export const theme = signal<Theme>('auto');

/** Reads the choices, applies them to the document, and keeps doing so. */
export function startPreferences(): void {
  const storedLanguage = localStorage.getItem(LANGUAGE_KEY);
  language.value = LANGUAGES.includes(storedLanguage as Language)
    ? (storedLanguage as Language)
    : preferredLanguage(navigator.languages);
  const storedTheme = localStorage.getItem(THEME_KEY);
  if (THEMES.includes(storedTheme as Theme)) theme.value = storedTheme as Theme;
  effect(() => {
    document.documentElement.lang = language.value;
  });
  effect(() => {
    if (theme.value === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme.value;
  });
}

export function chooseLanguage(value: Language): void {
  language.value = value;
  localStorage.setItem(LANGUAGE_KEY, value);
}

export function chooseTheme(value: Theme): void {
  theme.value = value;
  localStorage.setItem(THEME_KEY, value);
}
