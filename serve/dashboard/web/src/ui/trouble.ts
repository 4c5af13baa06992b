import { ApiError, type ApiErrorKind } from '../api/errors';
import { type MessageKey, t } from '../i18n';
import { asTrouble } from '../state/workspace';

const MESSAGES: Readonly<Record<ApiErrorKind, MessageKey>> = {
  network: 'error.network',
  unauthorized: 'error.unauthorized',
  forbidden: 'error.forbidden',
  'not-found': 'error.notFound',
  conflict: 'error.conflict',
  quota: 'error.quota',
  invalid: 'error.invalid',
  'too-large': 'error.tooLarge',
  'too-many': 'error.tooMany',
  unavailable: 'error.unavailable',
  server: 'error.server',
};

/** One or two sentences for a person: ours on the kind, and the API's on the case. */
export function explain(error: unknown): string {
  const trouble = asTrouble(error);
  if (!(trouble instanceof ApiError)) return t('error.unreadable');
  const sentence = t(MESSAGES[trouble.kind]);
  // A network error's own text is the browser's, and tells a user nothing.
  return trouble.detail && trouble.kind !== 'network' ? `${sentence} ${trouble.detail}` : sentence;
}
