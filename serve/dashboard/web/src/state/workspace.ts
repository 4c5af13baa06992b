/** All that a signed-in page knows, and the tasks that keep it fresh; `close` ends them all. */

import { batch, computed, effect, type ReadonlySignal, signal } from '@preact/signals';
import { type FollowOptions, followAlarms, type StreamState } from '../api/alarm-stream';
import type { Api } from '../api/client';
import { ApiError } from '../api/errors';
import { browserTabs, shareAlarms } from '../api/shared-stream';
import { mergeAlarms } from '../domain/alarm-list';
import { DecodeError } from '../domain/decode';
import type { Alarm, Camera, CoverageByCamera, Permission, Session } from '../domain/types';
import type { Player } from '../live/player';
import { chooseConnections } from '../live/policy';
import { poll } from './poll';

const CAMERAS_EVERY_MS = 2_000;
/** Alarms come by the stream; this brings what others acknowledged, and closes any gap. */
const ALARMS_EVERY_MS = 20_000;
/** An admin may change a role at any time. The server goes by it at once, the page by this. */
const SESSION_EVERY_MS = 60_000;
/** The records are some 15 s behind. */
const COVERAGE_EVERY_MS = 60_000;
const ALARM_PAGE = 30;
/** A hidden page keeps its rooms this long, so that a glance at another tab costs no black picture. */
const SLEEP_AFTER_MS = 60_000;
const HIGHLIGHT_MS = 4_000;

export type Trouble = ApiError | DecodeError;

export class Workspace {
  readonly cameras = signal<readonly Camera[] | null>(null);
  readonly camerasTrouble = signal<Trouble | null>(null);
  /** Of today, by camera; empty until it is known. */
  readonly coverage = signal<CoverageByCamera>(new Map());
  readonly alarms = signal<readonly Alarm[] | null>(null);
  readonly alarmsTrouble = signal<Trouble | null>(null);
  /** Where the list of earlier alarms goes on; null at its end. */
  readonly cursor = signal<string | null>(null);
  readonly stream = signal<StreamState>('connecting');
  /** Alarms that came while nobody looked at the page. */
  readonly unseen = signal(0);
  /** Null until the API has said who is signed in: what needs a permission is not shown before. */
  readonly session = signal<Session | null>(null);
  /** The camera that is shown large. */
  readonly focused = signal<string | null>(null);
  readonly highlighted = signal<string | null>(null);
  /** Of the cameras that are connected; the rules editor draws on their pictures. */
  readonly players = new Map<string, Player>();
  readonly connections: ReadonlySignal<ReadonlySet<string>>;

  readonly #visible = signal<ReadonlySet<string>>(new Set());
  readonly #awake = signal(true);
  readonly #abort = new AbortController();
  readonly #disposeTitle: () => void;
  #connected: ReadonlySet<string> = new Set();
  #sleepTimer: ReturnType<typeof setTimeout> | undefined;
  #highlightTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(readonly api: Api) {
    this.connections = computed(() => this.#choose());
    this.#disposeTitle = effect(() => {
      const { value } = this.unseen;
      document.title = value > 0 ? `(${value}) Atalaia` : 'Atalaia';
    });
    const { signal } = this.#abort;
    document.addEventListener('visibilitychange', this.#onVisibility, { signal });
    window.addEventListener('focus', () => this.#looked(), { signal });
    this.#spawn();
  }

  close(): void {
    this.#abort.abort();
    clearTimeout(this.#sleepTimer);
    clearTimeout(this.#highlightTimer);
    this.#disposeTitle();
    document.title = 'Atalaia';
  }

  setVisible(camera: string, visible: boolean): void {
    const before = this.#visible.peek();
    if (before.has(camera) === visible) return;
    const after = new Set(before);
    if (visible) after.add(camera);
    else after.delete(camera);
    this.#visible.value = after;
  }

  /** Whether the role may do it; the page is drawn anew when that changes. */
  can(permission: Permission): boolean {
    return this.session.value?.permissions.has(permission) ?? false;
  }

  camera(id: string): Camera | undefined {
    return this.cameras.value?.find((camera) => camera.id === id);
  }

  /** Draws the eye to a camera for a few seconds. */
  highlight(camera: string): void {
    clearTimeout(this.#highlightTimer);
    this.highlighted.value = camera;
    this.#highlightTimer = setTimeout(() => {
      this.highlighted.value = null;
    }, HIGHLIGHT_MS);
  }

  async refreshCameras(): Promise<void> {
    await this.#askCameras(this.#abort.signal);
  }

  async acknowledge(alarm: string): Promise<void> {
    this.#merge([await this.api.acknowledge(alarm)]);
  }

  async loadEarlier(): Promise<void> {
    const cursor = this.cursor.peek();
    if (cursor === null) return;
    const page = await this.api.alarms(ALARM_PAGE, cursor, this.#abort.signal);
    batch(() => {
      this.#merge(page.items);
      this.cursor.value = page.nextCursor;
    });
  }

  #spawn(): void {
    const { signal } = this.#abort;
    void poll({
      everyMs: SESSION_EVERY_MS,
      ask: async (s) => {
        this.session.value = await this.api.session(s);
      },
      // The polls of cameras and alarms report that the API cannot be reached.
      onError: asTrouble,
      signal,
    });
    void poll({
      everyMs: CAMERAS_EVERY_MS,
      ask: (s) => this.#askCameras(s),
      onError: (error) => {
        this.camerasTrouble.value = asTrouble(error);
      },
      signal,
    });
    void poll({
      everyMs: COVERAGE_EVERY_MS,
      ask: async (s) => {
        this.coverage.value = await this.api.coverage(new Date().setHours(0, 0, 0, 0), s);
      },
      // A figure beside the others: their polls report that the API cannot be reached.
      onError: asTrouble,
      signal,
    });
    void poll({
      everyMs: ALARMS_EVERY_MS,
      ask: (s) => this.#askAlarms(s),
      onError: (error) => {
        this.alarmsTrouble.value = asTrouble(error);
      },
      signal,
    });
    void this.#follow({
      open: (lastEventId, s) => this.api.alarmStream(lastEventId, s),
      onAlarm: (alarm) => this.#onAlarm(alarm),
      onGap: () => this.#reload(true),
      onState: (state) => this.#onStream(state),
      onBadEvent: (error) => {
        this.alarmsTrouble.value = error;
      },
      signal,
    });
  }

  /** With the other tabs of the same person, where the browser lets them know of each other. */
  async #follow(options: FollowOptions): Promise<void> {
    const tabs = browserTabs();
    const identity = tabs === null ? null : await this.api.identity();
    if (tabs === null || identity === null) await followAlarms(options);
    else await shareAlarms({ ...options, tabs, identity });
  }

  async #askCameras(signal: AbortSignal): Promise<void> {
    const cameras = await this.api.cameras(signal);
    batch(() => {
      this.cameras.value = cameras;
      this.camerasTrouble.value = null;
      const { value } = this.focused;
      if (value !== null && !cameras.some((camera) => camera.id === value)) {
        this.focused.value = null;
      }
    });
  }

  async #askAlarms(signal: AbortSignal, missing = false): Promise<void> {
    const page = await this.api.alarms(ALARM_PAGE, null, signal);
    batch(() => {
      // Where alarms are missing, "earlier" goes on from this page, so that it brings them.
      if (missing || this.alarms.peek() === null) this.cursor.value = page.nextCursor;
      this.#merge(page.items);
      this.alarmsTrouble.value = null;
    });
  }

  #merge(incoming: readonly Alarm[]): void {
    this.alarms.value = mergeAlarms(this.alarms.peek() ?? [], incoming);
  }

  #onAlarm(alarm: Alarm): void {
    const known = this.alarms.peek()?.some((other) => other.id === alarm.id) ?? false;
    this.#merge([alarm]);
    if (!known && !isLookedAt()) this.unseen.value += 1;
  }

  /** What was raised between the first page and the opening of the stream is in neither. */
  #onStream(state: StreamState): void {
    const opened = state === 'open' && this.stream.peek() !== 'open';
    this.stream.value = state;
    if (opened) this.#reload(false);
  }

  #reload(missing: boolean): void {
    this.#askAlarms(this.#abort.signal, missing).catch((error: unknown) => {
      if (!this.#abort.signal.aborted) this.alarmsTrouble.value = asTrouble(error);
    });
  }

  #choose(): ReadonlySet<string> {
    const visible = this.#visible.value;
    const focused = this.focused.value;
    if (!this.#awake.value) {
      this.#connected = new Set();
      return this.#connected;
    }
    const chosen = chooseConnections(
      (this.cameras.value ?? []).map((camera) => ({
        id: camera.id,
        state: camera.state,
        enabled: camera.enabled,
        visible: visible.has(camera.id),
        focused: focused === camera.id,
        connected: this.#connected.has(camera.id),
      })),
    );
    // The same set stays the same object, so that a poll without news draws nothing anew.
    if (!sameMembers(chosen, this.#connected)) this.#connected = chosen;
    return this.#connected;
  }

  readonly #onVisibility = () => {
    clearTimeout(this.#sleepTimer);
    if (document.visibilityState === 'visible') {
      this.#awake.value = true;
      this.#looked();
      return;
    }
    this.#sleepTimer = setTimeout(() => {
      this.#awake.value = false;
    }, SLEEP_AFTER_MS);
  };

  #looked(): void {
    if (isLookedAt()) this.unseen.value = 0;
  }
}

function isLookedAt(): boolean {
  return document.visibilityState === 'visible' && document.hasFocus();
}

function sameMembers(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return a.size === b.size && [...a].every((member) => b.has(member));
}

/** What the page can tell the user. A fault of ours is told as such, and in full on the console. */
export function asTrouble(error: unknown): Trouble {
  if (error instanceof ApiError || error instanceof DecodeError) return error;
  // fetch's streams report a lost connection, or a time-out while the body is read, like this.
  if (error instanceof TypeError || error instanceof DOMException) {
    return new ApiError('network', error.message);
  }
  console.error(error);
  return new DecodeError(String(error));
}
