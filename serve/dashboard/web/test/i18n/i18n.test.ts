import { describe, expect, it } from 'vitest';
import { preferredLanguage, translate } from '../../src/i18n';
import { className } from '../../src/i18n/classes';
import { en, type MessageKey } from '../../src/i18n/en';
import { ptBr } from '../../src/i18n/pt-br';

const holes = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort();

describe('messages', () => {
  it('are there in both languages, with the same holes', () => {
    for (const key of Object.keys(en) as MessageKey[]) {
      expect(ptBr[key], key).not.toBe('');
      expect(holes(ptBr[key]), key).toEqual(holes(en[key]));
    }
  });

  it('fills holes, and leaves those that nobody fills', () => {
    expect(translate('en', 'camera.fps', { fps: 25 })).toBe('25 fps');
    expect(translate('en', 'camera.fps')).toBe('{fps} fps');
  });

  it.each([
    [['pt-BR', 'en'], 'pt-BR'],
    [['pt-PT'], 'pt-BR'],
    [['de', 'en-GB'], 'en'],
    [['de'], 'en'],
    [[], 'en'],
  ])('for %j the page speaks %s', (wanted, expected) => {
    expect(preferredLanguage(wanted)).toBe(expected);
  });

  it('names classes, and leaves what it does not know', () => {
    expect(className('person', 'pt-BR')).toBe('pessoa');
    expect(className('person', 'en')).toBe('person');
    expect(className('forklift', 'pt-BR')).toBe('forklift');
    expect(className('constructor', 'pt-BR')).toBe('constructor');
  });
});
