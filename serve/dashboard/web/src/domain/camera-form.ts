/** What the page checks of a new camera before it asks the API. */

import { SLUG } from './slug';
import type { NewCamera } from './types';

export interface CameraDraft {
  readonly name: string;
  readonly id: string;
  readonly url: string;
  readonly substream: string;
}

export type CameraDraftProblem = 'id' | 'url' | 'substream';

const STREAM_URL = /^(rtsps?|rtmps?|https?):\/\/\S/i;

export function cameraDraftProblem(draft: CameraDraft): CameraDraftProblem | null {
  if (!SLUG.test(draft.id)) return 'id';
  if (!STREAM_URL.test(draft.url.trim())) return 'url';
  if (draft.substream.trim() !== '' && !STREAM_URL.test(draft.substream.trim())) return 'substream';
  return null;
}

export function toNewCamera(draft: CameraDraft): NewCamera {
  const substream = draft.substream.trim();
  return {
    id: draft.id,
    name: draft.name.trim() || draft.id,
    url: draft.url.trim(),
    ...(substream ? { substream_url: substream } : {}),
  };
}
