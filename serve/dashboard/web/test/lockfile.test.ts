import { expect, it } from 'vitest';
import lockfile from '../package-lock.json?raw';

// npm adds funding pages by itself: `npm run lock` takes them out again.
it('the lock file pins by hash and holds no address', () => {
  expect(lockfile).not.toMatch(/https?:|"resolved"/);
  expect(lockfile).toContain('"integrity": "sha512-');
});
