/** Short messages in a corner, gone after a few seconds. */

import { signal } from '@preact/signals';

export interface Notice {
  readonly id: number;
  readonly tone: 'good' | 'warn' | 'bad';
  readonly text: string;
}

const SHOWN_MS = 6_000;

export const notices = signal<readonly Notice[]>([]);
let nextId = 1;

export function notify(tone: Notice['tone'], text: string): void {
  const notice = { id: nextId, tone, text };
  nextId += 1;
  notices.value = [...notices.value.slice(-3), notice];
  setTimeout(() => dismiss(notice.id), SHOWN_MS);
}

export function dismiss(id: number): void {
  notices.value = notices.value.filter((notice) => notice.id !== id);
}
