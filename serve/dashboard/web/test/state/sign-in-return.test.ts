import { describe, expect, it } from 'vitest';
import { takeSignInReturn } from '../../src/state/sign-in-return';

const PAGE = 'https://cameras.example/';

function taken(query: string) {
  let cleaned: string | null = null;
  const found = takeSignInReturn(PAGE + query, (path) => {
    cleaned = path;
  });
  return { found, cleaned };
}

describe('the way back from an identity provider', () => {
  it('names the organization, and leaves a clean address', () => {
    expect(taken('?signed-in=acme')).toEqual({
      found: { tenant: 'acme', failure: null },
      cleaned: '/',
    });
  });

  it('says why nobody was signed in', () => {
    expect(taken('?sign-in=not-allowed#live').found).toEqual({
      tenant: null,
      failure: 'not-allowed',
    });
    expect(taken('?sign-in=not-allowed&tab=2#live').cleaned).toBe('/?tab=2#live');
  });

  it('leaves every other address as it is', () => {
    expect(taken('?tab=2')).toEqual({ found: null, cleaned: null });
  });

  it('takes no words of strangers', () => {
    expect(taken('?sign-in=<b>call+us</b>').found).toBeNull();
    expect(taken('?signed-in=Not+A+Name').found).toBeNull();
  });
});
