/** What can go wrong when the page talks to the API, as kinds that the page can act on. */

export type ApiErrorKind =
  | 'network'
  | 'unauthorized'
  | 'forbidden'
  | 'not-found'
  | 'conflict'
  | 'quota'
  | 'invalid'
  | 'too-large'
  | 'too-many'
  | 'unavailable'
  | 'server';

export class ApiError extends Error {
  override readonly name = 'ApiError';

  constructor(
    readonly kind: ApiErrorKind,
    /** The API's own sentence, where it sent one. */
    readonly detail: string = '',
    readonly status: number = 0,
  ) {
    super(detail || kind);
  }

  /** Whether trying again later, unchanged, can help. */
  get retryable(): boolean {
    return (
      this.kind === 'network' ||
      this.kind === 'unavailable' ||
      this.kind === 'server' ||
      this.kind === 'too-many'
    );
  }
}

/** The kind of an answer that is no success; `body` is its problem document, if it has one. */
export function kindOf(status: number, body: unknown): ApiErrorKind {
  const code = typeof body === 'object' && body !== null && 'code' in body ? body.code : null;
  // With 429 it is a rate, which is over soon; with 409 it is a number of things, and with 507 the
  // storage, which are not.
  const lasting = status === 409 || status === 507;
  return lasting && code === 'quota-exceeded' ? 'quota' : kindOfStatus(status);
}

function kindOfStatus(status: number): ApiErrorKind {
  switch (status) {
    case 401:
      return 'unauthorized';
    case 403:
      return 'forbidden';
    case 404:
      return 'not-found';
    case 409:
      return 'conflict';
    case 413:
      return 'too-large';
    case 429:
      return 'too-many';
    case 502:
    case 503:
    case 504:
      return 'unavailable';
    default:
      return status >= 500 ? 'server' : 'invalid';
  }
}

/**
 * What a problem+json body (RFC 9457) says to a person: the detail, the first wrong field, and the
 * API's hint on what to do next. Empty where there is no such body.
 */
export function problemDetail(body: unknown): string {
  if (typeof body !== 'object' || body === null) return '';
  const { detail, title, hint, errors } = body as Record<string, unknown>;
  const field: unknown = Array.isArray(errors) ? errors[0] : null;
  const wrong =
    typeof field === 'object' && field !== null ? (field as { detail?: unknown }).detail : null;
  const parts = [typeof detail === 'string' ? detail : title, wrong, hint];
  const said = parts.filter((part): part is string => typeof part === 'string' && part !== '');
  return [...new Set(said)].join(' ');
}
