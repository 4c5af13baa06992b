/** The page's language: the browser's at first, the user's once chosen. */

import { signal } from '@preact/signals';
import { className } from './classes';
import { en, type MessageKey } from './en';
import { ptBr } from './pt-br';

export type { MessageKey } from './en';

export const LANGUAGES = ['en', 'pt-BR'] as const;
export type Language = (typeof LANGUAGES)[number];

export const LANGUAGE_NAMES: Readonly<Record<Language, string>> = {
  en: 'English',
  'pt-BR': 'Português',
};

const MESSAGES: Readonly<Record<Language, Readonly<Record<MessageKey, string>>>> = {
  en,
  'pt-BR': ptBr,
};

export const language = signal<Language>('en');

/** The first of the browser's languages that the page speaks; English where it speaks none. */
export function preferredLanguage(wanted: readonly string[]): Language {
  for (const tag of wanted) {
    const primary = tag.toLowerCase().split('-')[0];
    if (primary === 'pt') return 'pt-BR';
    if (primary === 'en') return 'en';
  }
  return 'en';
}

export type Params = Readonly<Record<string, string | number>>;

export function translate(to: Language, key: MessageKey, params: Params = {}): string {
  return MESSAGES[to][key].replace(/\{(\w+)\}/g, (whole, name: string) =>
    Object.hasOwn(params, name) ? String(params[name]) : whole,
  );
}

/** In the page's language; a component that calls it is drawn again when the language changes. */
export function t(key: MessageKey, params?: Params): string {
  return translate(language.value, key, params);
}

export function nameOfClass(label: string): string {
  return className(label, language.value);
}

/** Local time of day, with the date where it is not today. */
export function formatTime(ms: number, nowMs: number = Date.now()): string {
  const time = new Date(ms);
  const sameDay = time.toDateString() === new Date(nowMs).toDateString();
  return new Intl.DateTimeFormat(language.value, {
    ...(sameDay ? {} : { day: '2-digit', month: 'short' }),
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
  }).format(time);
}

/** Local date, with the time of day. */
export function formatDay(ms: number): string {
  return new Intl.DateTimeFormat(language.value, {
    dateStyle: 'medium',
    timeStyle: 'short',
  }).format(new Date(ms));
}

export function formatNumber(value: number, digits = 0): string {
  return new Intl.NumberFormat(language.value, { maximumFractionDigits: digits }).format(value);
}
