import { describe, expect, it } from 'vitest';
import { forgetKey, isWellFormedKey, rememberedKey, rememberKey } from '../../src/state/key';

class MemoryStorage implements Storage {
  readonly #items = new Map<string, string>();
  get length(): number {
    return this.#items.size;
  }
  clear(): void {
    this.#items.clear();
  }
  getItem(key: string): string | null {
    return this.#items.get(key) ?? null;
  }
  key(index: number): string | null {
    return [...this.#items.keys()][index] ?? null;
  }
  removeItem(key: string): void {
    this.#items.delete(key);
  }
  setItem(key: string, value: string): void {
    this.#items.set(key, value);
  }
}

describe('the access key', () => {
  it.each([
    ['atk_12345678_abcDEF-_', true],
    ['short', false],
    ['atk_12345678_with space', false],
    ['atk_12345678_linebreak\n', false],
    ['schlüssel-und-mehr', false],
    ['', false],
  ])('%j is well formed: %s', (key, expected) => {
    expect(isWellFormedKey(key)).toBe(expected);
  });

  it('is remembered only when asked to, and forgotten whole', () => {
    const storage = new MemoryStorage();
    expect(rememberedKey(storage)).toBeNull();
    rememberKey('atk_12345678_secret', storage);
    expect(rememberedKey(storage)).toBe('atk_12345678_secret');
    forgetKey(storage);
    expect(storage.length).toBe(0);
  });

  it('is not taken from storage where it is malformed', () => {
    const storage = new MemoryStorage();
    rememberKey('no key', storage);
    expect(rememberedKey(storage)).toBeNull();
  });
});
