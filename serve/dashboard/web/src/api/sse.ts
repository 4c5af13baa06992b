/** A parser of server-sent events, as the HTML standard describes the format. */

export interface ServerEvent {
  readonly type: string;
  readonly data: string;
  /** The last id that the stream gave, up to and including this event. */
  readonly lastEventId: string;
}

export class SseParser {
  #buffer = '';
  #started = false;
  #type = '';
  #data: string[] = [];
  /** As the lines have it: becomes the stream's at the end of the event that it stands in. */
  #pendingId: string;
  #lastEventId: string;
  #retryMs: number | null = null;

  constructor(lastEventId = '') {
    this.#pendingId = lastEventId;
    this.#lastEventId = lastEventId;
  }

  /** The id to resume from: of the last event that came whole, also of one without data. */
  get lastEventId(): string {
    return this.#lastEventId;
  }

  /** What the server asks to wait before a reconnect, in milliseconds. */
  get retryMs(): number | null {
    return this.#retryMs;
  }

  /** Takes the next piece of the stream, cut anywhere; gives the events that it completes. */
  push(chunk: string): ServerEvent[] {
    let input = this.#buffer + chunk;
    if (!this.#started && input.length > 0) {
      this.#started = true;
      if (input.startsWith('\uFEFF')) input = input.slice(1);
    }
    const events: ServerEvent[] = [];
    let start = 0;
    for (;;) {
      const end = lineEnd(input, start);
      if (end === null) break;
      const event = this.#line(input.slice(start, end.at));
      if (event) events.push(event);
      start = end.next;
    }
    this.#buffer = input.slice(start);
    return events;
  }

  #line(line: string): ServerEvent | null {
    if (line === '') return this.#dispatch();
    if (line.startsWith(':')) return null;
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? '' : line.slice(colon + 1);
    if (value.startsWith(' ')) value = value.slice(1);
    if (field === 'event') this.#type = value;
    else if (field === 'data') this.#data.push(value);
    else if (field === 'id' && !value.includes('\0')) this.#pendingId = value;
    else if (field === 'retry' && /^\d+$/.test(value)) this.#retryMs = Number(value);
    return null;
  }

  #dispatch(): ServerEvent | null {
    this.#lastEventId = this.#pendingId;
    const event =
      this.#data.length === 0
        ? null
        : {
            type: this.#type || 'message',
            data: this.#data.join('\n'),
            lastEventId: this.#lastEventId,
          };
    this.#type = '';
    this.#data = [];
    return event;
  }
}

/** Where the line that begins at `start` ends; null while its end has not come for sure. */
function lineEnd(input: string, start: number): { at: number; next: number } | null {
  for (let i = start; i < input.length; i += 1) {
    const char = input[i];
    if (char === '\n') return { at: i, next: i + 1 };
    if (char === '\r') {
      // The line feed of a CR LF may be in the next piece.
      if (i + 1 === input.length) return null;
      return { at: i, next: input[i + 1] === '\n' ? i + 2 : i + 1 };
    }
  }
  return null;
}
