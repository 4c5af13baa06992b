/** The edge: JSON of unknown shape becomes the page's vocabulary here, or a DecodeError. */

import type { AccessKey, CameraGroup, Provider, User } from './access';
import { type Anonymisation, HIDES, type Hide, STYLES } from './anonymisation';
import {
  type Alarm,
  type AlarmPage,
  type AuditEntry,
  type AuditPage,
  type Box,
  CAMERA_STATES,
  type Camera,
  type CameraCoverage,
  type CameraState,
  CLIP_STATES,
  type Clip,
  type ClipState,
  COLOURS,
  type CoverageByCamera,
  ERASURE_STATES,
  type Erasure,
  type JoinGrant,
  type Match,
  type Point,
  RULE_KINDS,
  type Rule,
  type RuleKind,
  type SeenBox,
  type SeenFrame,
  type Session,
  type Sighting,
} from './types';

export class DecodeError extends Error {
  override readonly name = 'DecodeError';
}

type Fields = Readonly<Record<string, unknown>>;

function fields(value: unknown, what: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new DecodeError(`${what}: expected an object`);
  }
  return value as Fields;
}

function text(from: Fields, key: string, what: string): string {
  const value = from[key];
  if (typeof value !== 'string') throw new DecodeError(`${what}.${key}: expected text`);
  return value;
}

function textOr<T>(from: Fields, key: string, otherwise: T): string | T {
  const value = from[key];
  return typeof value === 'string' ? value : otherwise;
}

function numberOr<T>(from: Fields, key: string, otherwise: T): number | T {
  const value = from[key];
  return typeof value === 'number' && Number.isFinite(value) ? value : otherwise;
}

function time(from: Fields, key: string, what: string): number {
  const ms = Date.parse(text(from, key, what));
  if (Number.isNaN(ms)) throw new DecodeError(`${what}.${key}: expected an RFC 3339 time`);
  return ms;
}

function timeOrNull(from: Fields, key: string, what: string): number | null {
  return typeof from[key] === 'string' ? time(from, key, what) : null;
}

function boxOrNull(value: unknown): Box | null {
  if (!Array.isArray(value) || value.length !== 4) return null;
  if (!value.every((v) => typeof v === 'number' && Number.isFinite(v))) return null;
  return value as unknown as Box;
}

/** The members of `{"<name>": [...]}`. */
function list(body: unknown, name: string): readonly unknown[] {
  const members = fields(body, name)[name];
  if (!Array.isArray(members)) throw new DecodeError(`${name}: expected a list`);
  return members;
}

export function decodeCamera(value: unknown): Camera {
  const from = fields(value, 'camera');
  const state = text(from, 'state', 'camera');
  if (!CAMERA_STATES.includes(state as CameraState)) {
    throw new DecodeError(`camera.state: unknown state ${state}`);
  }
  const id = text(from, 'id', 'camera');
  const stats = fields(from.stats ?? {}, 'camera.stats');
  return {
    id,
    name: textOr(from, 'name', id),
    url: textOr(from, 'url', ''),
    state: state as CameraState,
    reason: textOr(from, 'reason', ''),
    fps: numberOr(stats, 'fps', null),
    width: numberOr(stats, 'width', null),
    height: numberOr(stats, 'height', null),
    watchedFps: numberOr(stats, 'watched_fps', null),
    enabled: from.enabled !== false,
    masked: Array.isArray(from.masks) && from.masks.length > 0,
  };
}

export function decodeCameras(body: unknown): readonly Camera[] {
  return list(body, 'cameras').map(decodeCamera);
}

export function decodeCoverage(body: unknown): CoverageByCamera {
  return new Map(list(body, 'cameras').map(decodeCameraCoverage));
}

function decodeCameraCoverage(value: unknown): [string, CameraCoverage] {
  const what = 'coverage';
  const from = fields(value, what);
  const causes = Object.entries(fields(from.causes, `${what}.causes`));
  return [
    text(from, 'camera', what),
    {
      expectedS: numberOr(from, 'expected_s', 0),
      analysedS: numberOr(from, 'analysed_s', 0),
      blindS: numberOr(from, 'blind_s', 0),
      causes: causes.filter((cause): cause is [string, number] => typeof cause[1] === 'number'),
    },
  ];
}

export function decodeSession(body: unknown): Session {
  const from = fields(body, 'session');
  const permissions = from.permissions;
  if (!Array.isArray(permissions)) throw new DecodeError('session.permissions: expected a list');
  return {
    tenant: textOr(from, 'tenant', null),
    role: text(from, 'role', 'session'),
    permissions: new Set(permissions.filter((name) => typeof name === 'string')),
    user: typeof from.user === 'object' && from.user !== null,
  };
}

export function decodeErasure(value: unknown): Erasure {
  const from = fields(value, 'erasure');
  const steps = list(value, 'steps').map((one) => fields(one, 'erasure.steps'));
  const removed = list(value, 'removed').map((one) => fields(one, 'erasure.removed'));
  return {
    id: text(from, 'id', 'erasure'),
    // A state of a later version is not the end, as far as this page knows.
    state: ERASURE_STATES.find((state) => state === from.state) ?? 'running',
    open: steps
      .filter((step) => step.state !== 'done')
      .map((step) => ({
        step: text(step, 'step', 'erasure.steps'),
        waitingFor: textOr(step, 'waiting_for', null),
      })),
    removed: removed.reduce((sum, count) => sum + numberOr(count, 'removed', 0), 0),
    receipt: from.receipt == null ? null : fields(from.receipt, 'erasure.receipt'),
  };
}

export function decodeUser(value: unknown): User {
  const from = fields(value, 'user');
  const email = text(from, 'email', 'user');
  return {
    id: text(from, 'id', 'user'),
    email,
    name: textOr(from, 'name', email),
    role: text(from, 'role', 'user'),
    groups: textsOrNull(from.groups),
    disabled: from.disabled === true,
    signedInMs: timeOrNull(from, 'signed_in_at', 'user'),
    provider: textOr(from, 'provider', '') || null,
  };
}

/** Where a list goes on; null at its end. */
export function nextCursor(body: unknown): string | null {
  return textOr(fields(body, 'page'), 'next_cursor', null);
}

export function decodeUsers(body: unknown): readonly User[] {
  return list(body, 'users').map(decodeUser);
}

export function decodeProviders(body: unknown): readonly Provider[] {
  return list(body, 'providers').map((value) => {
    const from = fields(value, 'provider');
    return {
      name: text(from, 'name', 'provider'),
      title: text(from, 'title', 'provider'),
      url: text(from, 'url', 'provider'),
    };
  });
}

export function decodeKeys(body: unknown): readonly AccessKey[] {
  return list(body, 'keys').map((value) => {
    const from = fields(value, 'key');
    return {
      id: text(from, 'id', 'key'),
      name: text(from, 'name', 'key'),
      role: text(from, 'role', 'key'),
      groups: textsOrNull(from.groups),
      prefix: textOr(from, 'prefix', ''),
      expiresMs: timeOrNull(from, 'expires_at', 'key'),
      usedMs: timeOrNull(from, 'last_used_at', 'key'),
      revoked: typeof from.revoked_at === 'string',
      replaced: typeof from.replaced_by === 'string',
    };
  });
}

export function decodeGroups(body: unknown): readonly CameraGroup[] {
  return list(body, 'groups').map(decodeGroup);
}

export function decodeGroup(value: unknown): CameraGroup {
  const from = fields(value, 'group');
  return {
    id: text(from, 'id', 'group'),
    name: text(from, 'name', 'group'),
    cameras: textsOrNull(from.cameras) ?? [],
  };
}

function textsOrNull(value: unknown): readonly string[] | null {
  if (!Array.isArray(value)) return null;
  return value.filter((item): item is string => typeof item === 'string');
}

export function decodeFreshKey(body: unknown): string {
  return text(fields(body, 'key'), 'key', 'key');
}

export function decodeAuditPage(body: unknown): AuditPage {
  return {
    items: list(body, 'entries').map(decodeAuditEntry),
    nextCursor: textOr(fields(body, 'audit'), 'next_cursor', null),
  };
}

function decodeAuditEntry(value: unknown): AuditEntry {
  const from = fields(value, 'entry');
  const object = fields(from.object ?? {}, 'entry.object');
  return {
    sequence: numberOr(from, 'sequence', 0),
    atMs: time(from, 'at', 'entry'),
    actor: text(from, 'actor', 'entry'),
    action: text(from, 'action', 'entry'),
    object: [textOr(object, 'kind', ''), textOr(object, 'id', '')].filter((part) => part).join(' '),
    address: textOr(from, 'address', null),
    refused: text(from, 'outcome', 'entry') !== 'done',
    reason: textOr(from, 'reason', null),
    details: fields(from.details ?? {}, 'entry.details'),
  };
}

export function decodeJoin(body: unknown): JoinGrant {
  const from = fields(body, 'join');
  return {
    url: text(from, 'url', 'join'),
    room: text(from, 'room', 'join'),
    token: text(from, 'token', 'join'),
  };
}

export function decodeAlarm(value: unknown): Alarm {
  const from = fields(value, 'alarm');
  const latency = from.latency_ms;
  return {
    id: text(from, 'id', 'alarm'),
    camera: text(from, 'camera', 'alarm'),
    rule: text(from, 'rule', 'alarm'),
    kind: text(from, 'kind', 'alarm'),
    label: text(from, 'class', 'alarm'),
    confidence: numberOr(from, 'confidence', 0),
    box: boxOrNull(from.box),
    atMs: time(from, 'at', 'alarm'),
    acknowledged: from.state === 'acknowledged',
    acknowledgedBy: textOr(from, 'acknowledged_by', null),
    acknowledgedAtMs:
      typeof from.acknowledged_at === 'string' ? time(from, 'acknowledged_at', 'alarm') : null,
    snapshot: textOr(from, 'snapshot', null),
    totalLatencyMs:
      typeof latency === 'object' && latency !== null
        ? numberOr(latency as Fields, 'total', null)
        : null,
  };
}

/** A path that carries its own permission. Anything else would be a foreign address in a player. */
function mediaPath(value: unknown): string | null {
  if (value === null || value === undefined) return null;
  if (typeof value !== 'string' || !/^\/media\/[\w.-]+$/.test(value)) {
    throw new DecodeError('clip: expected a signed path');
  }
  return value;
}

export function decodeClip(value: unknown): Clip {
  const from = fields(value, 'clip');
  const state = text(from, 'state', 'clip');
  if (!CLIP_STATES.includes(state as ClipState)) {
    throw new DecodeError(`clip.state: unknown state ${state}`);
  }
  return {
    state: state as ClipState,
    code: textOr(from, 'code', null),
    reason: textOr(from, 'reason', ''),
    fromMs: time(from, 'from', 'clip'),
    toMs: time(from, 'to', 'clip'),
    alarmAtS: numberOr(from, 'alarm_at_s', 0),
    gaps: Array.isArray(from.gaps) ? from.gaps.length : 0,
    url: mediaPath(from.url),
    boxesUrl: mediaPath(fields(from.boxes ?? {}, 'clip.boxes').json),
    anonymised: !['off', ''].includes(textOr(from, 'anonymised', '')),
    reveal: textOr(from, 'reveal', null),
  };
}

/** A policy with what this page does not know is an error: it would be lost when it is saved. */
export function decodeAnonymisation(value: unknown): Anonymisation {
  const from = fields(value, 'policy');
  const cameras = Object.entries(fields(from.cameras, 'policy.cameras'));
  const style = STYLES.find((known) => known === from.style);
  if (style === undefined || !Array.isArray(from.classes)) {
    throw new DecodeError('policy: expected a style and classes');
  }
  return {
    hide: hidden(from.hide),
    cameras: Object.fromEntries(cameras.map(([camera, hide]) => [camera, hidden(hide)])),
    style,
    keepAudio: from.keep_audio === true,
    classes: from.classes.map(String),
  };
}

function hidden(value: unknown): Hide {
  const found = HIDES.find((known) => known === value);
  if (found === undefined) throw new DecodeError(`policy.hide: unknown ${String(value)}`);
  return found;
}

/** The frames of a clip in which something was seen, in order; a box that cannot be read is left out. */
export function decodeSeen(body: unknown): readonly SeenFrame[] {
  return list(body, 'frames').map((value) => {
    const from = fields(value, 'frame');
    const t = numberOr(from, 't', null);
    if (t === null) throw new DecodeError('frame.t: expected a number');
    return {
      t,
      boxes: list(from, 'boxes')
        .map(seenBox)
        .filter((box): box is SeenBox => box !== null),
    };
  });
}

function seenBox(value: unknown): SeenBox | null {
  const from = fields(value, 'box');
  const box = boxOrNull(from.box);
  if (box === null) return null;
  return {
    key: text(from, 'track', 'box'),
    label: text(from, 'class', 'box'),
    confidence: numberOr(from, 'confidence', 0),
    box,
    alarm: from.alarm === true,
  };
}

export function decodeAlarmPage(body: unknown): AlarmPage {
  return {
    items: list(body, 'alarms').map(decodeAlarm),
    nextCursor: textOr(fields(body, 'alarms'), 'next_cursor', null),
  };
}

function point(value: unknown): Point {
  if (
    !Array.isArray(value) ||
    value.length !== 2 ||
    !value.every((v) => typeof v === 'number' && Number.isFinite(v))
  ) {
    throw new DecodeError('rule: expected points as [x, y]');
  }
  return value as unknown as Point;
}

export function decodeRule(value: unknown): Rule {
  const from = fields(value, 'rule');
  const kind = text(from, 'kind', 'rule');
  if (!RULE_KINDS.includes(kind as RuleKind)) {
    throw new DecodeError(`rule.kind: unknown kind ${kind}`);
  }
  const outline = kind === 'line_cross' ? from.line : from.polygon;
  if (!Array.isArray(outline)) throw new DecodeError('rule: expected a polygon or a line');
  outline.forEach(point);
  return {
    ...from,
    id: text(from, 'id', 'rule'),
    classes: Array.isArray(from.classes) ? from.classes.filter((c) => typeof c === 'string') : [],
    schedule: from.schedule ?? null,
  } as unknown as Rule;
}

/** Why a new rule may miss objects, in the API's words. */
export function decodeWarnings(body: unknown): readonly string[] {
  const { warnings } = fields(body, 'rule');
  return Array.isArray(warnings) ? warnings.filter((one) => typeof one === 'string') : [];
}

export function decodeRules(body: unknown): readonly Rule[] {
  return list(body, 'rules').map(decodeRule);
}

function sighting(value: unknown, what: string): Sighting {
  const from = fields(value, what);
  const colour = textOr(from, 'colour', null);
  return {
    camera: text(from, 'camera', what),
    label: text(from, 'class', what),
    colour: COLOURS.find((known) => known === colour) ?? null,
    firstSeenMs: time(from, 'first_seen', what),
    lastSeenMs: time(from, 'last_seen', what),
    track: text(from, 'track', what),
    snapshot: textOr(from, 'snapshot', null),
  };
}

export function decodeMatches(body: unknown): readonly Match[] {
  return list(body, 'matches').map((value) => ({
    ...sighting(value, 'match'),
    score: numberOr(fields(value, 'match'), 'score', 0),
  }));
}

export function decodeObjects(body: unknown): readonly Sighting[] {
  return list(body, 'objects').map((value) => sighting(value, 'object'));
}
