/** The page's vocabulary. Coordinates are normalized (0..1, origin top left, y down). */

export const CAMERA_STATES = ['connecting', 'live', 'degraded', 'offline'] as const;
export type CameraState = (typeof CAMERA_STATES)[number];

export interface Camera {
  readonly id: string;
  readonly name: string;
  /** Without credentials: the API never gives them back. */
  readonly url: string;
  readonly state: CameraState;
  readonly reason: string;
  readonly fps: number | null;
  readonly width: number | null;
  readonly height: number | null;
  /** Frames per second that the detector really looks at. */
  readonly watchedFps: number | null;
  readonly enabled: boolean;
  /** Whether privacy masks are painted into its video. */
  readonly masked: boolean;
}

/** What a role may do; the names are the API's. The server decides; the page only hides the rest. */
export type Permission =
  | 'camera.manage'
  | 'live.unmasked'
  | 'rule.manage'
  | 'alarm.acknowledge'
  | 'object.search'
  | 'key.manage'
  | 'group.manage'
  | 'user.manage'
  | 'audit.read'
  | 'privacy.manage'
  | 'evidence.reveal'
  | 'erasure.manage';

/** Who is signed in. */
/** Seconds of one camera since some time. */
export interface CameraCoverage {
  readonly expectedS: number;
  readonly analysedS: number;
  readonly blindS: number;
  /** The blind ones by cause. */
  readonly causes: readonly (readonly [cause: string, seconds: number])[];
}

export type CoverageByCamera = ReadonlyMap<string, CameraCoverage>;

export interface Session {
  /** Null for the platform's own keys. */
  readonly tenant: string | null;
  readonly role: string;
  readonly permissions: ReadonlySet<string>;
  /** Whether a person has signed in; a key has no password. */
  readonly user: boolean;
}

export const ERASURE_STATES = ['queued', 'running', 'waiting', 'done'] as const;
export type ErasureState = (typeof ERASURE_STATES)[number];

/** What is being erased on request, or was. */
export interface Erasure {
  readonly id: string;
  readonly state: ErasureState;
  /** Names of steps that are not done, each with why it waits, or null. */
  readonly open: readonly { readonly step: string; readonly waitingFor: string | null }[];
  /** Things of all kinds so far. */
  readonly removed: number;
  /** As the API signed it; null until it is done. */
  readonly receipt: Readonly<Record<string, unknown>> | null;
}

export interface AuditFilter {
  readonly actor: string;
  readonly action: string;
}

export interface AuditEntry {
  readonly sequence: number;
  readonly atMs: number;
  readonly actor: string;
  readonly action: string;
  readonly object: string;
  readonly address: string | null;
  readonly refused: boolean;
  readonly reason: string | null;
  readonly details: Readonly<Record<string, unknown>>;
}

export interface AuditPage {
  readonly items: readonly AuditEntry[];
  readonly nextCursor: string | null;
}

export interface NewCamera {
  readonly id: string;
  readonly name: string;
  readonly url: string;
  readonly substream_url?: string;
}

export interface JoinGrant {
  readonly url: string;
  readonly room: string;
  readonly token: string;
}

export type Point = readonly [x: number, y: number];
/** x1, y1, x2, y2. */
export type Box = readonly [x1: number, y1: number, x2: number, y2: number];

export const RULE_KINDS = ['zone_entry', 'line_cross', 'loiter', 'count'] as const;
export type RuleKind = (typeof RULE_KINDS)[number];

export const DIRECTIONS = ['any', 'left_to_right', 'right_to_left'] as const;
export type Direction = (typeof DIRECTIONS)[number];

export const WEEKDAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;
export type Weekday = (typeof WEEKDAYS)[number];

export interface ScheduleWindow {
  readonly days: readonly Weekday[];
  /** HH:MM, wall time of the schedule's zone. */
  readonly start: string;
  readonly end: string;
}

export interface Schedule {
  readonly timezone: string;
  readonly windows: readonly ScheduleWindow[];
}

interface RuleBase {
  readonly name?: string;
  /** Empty: every class that the model knows. */
  readonly classes: readonly string[];
  readonly min_confidence: number;
  readonly cooldown_s: number;
  readonly schedule: Schedule | null;
}

/** A rule as the API takes it, in the API's own names. */
export type RuleBody =
  | (RuleBase & { readonly kind: 'zone_entry'; readonly polygon: readonly Point[] })
  | (RuleBase & {
      readonly kind: 'line_cross';
      readonly line: readonly [Point, Point];
      readonly direction: Direction;
    })
  | (RuleBase & {
      readonly kind: 'loiter';
      readonly polygon: readonly Point[];
      readonly seconds: number;
    })
  | (RuleBase & {
      readonly kind: 'count';
      readonly polygon: readonly Point[];
      readonly n: number;
      readonly seconds: number;
    });

export type Rule = RuleBody & { readonly id: string };

export interface Alarm {
  readonly id: string;
  readonly camera: string;
  readonly rule: string;
  readonly kind: string;
  readonly label: string;
  readonly confidence: number;
  readonly box: Box | null;
  /** Capture time, milliseconds since 1970. */
  readonly atMs: number;
  readonly acknowledged: boolean;
  readonly acknowledgedBy: string | null;
  readonly acknowledgedAtMs: number | null;
  /** Path under the API base. */
  readonly snapshot: string | null;
  /** From capture to publication. */
  readonly totalLatencyMs: number | null;
}

export const CLIP_STATES = ['pending', 'ready', 'none'] as const;
export type ClipState = (typeof CLIP_STATES)[number];

/** The moving picture of an alarm: where it stands, and what opens it. */
export interface Clip {
  readonly state: ClipState;
  /** Why there is none (yet): for programs, and in the API's own words. */
  readonly code: string | null;
  readonly reason: string;
  /** What it covers, or is to cover; milliseconds since 1970. */
  readonly fromMs: number;
  readonly toMs: number;
  /** The alarm's moment, in seconds of the clip. */
  readonly alarmAtS: number;
  /** How often nothing was recorded within it: there the picture stands still. */
  readonly gaps: number;
  /** Signed paths; null where it is not ready. They work for some minutes. */
  readonly url: string | null;
  readonly boxesUrl: string | null;
  /** Persons are hidden in it. */
  readonly anonymised: boolean;
  /** Id of the reveal under which the original is shown, if one is needed. */
  readonly reveal: string | null;
}

export interface SeenBox {
  readonly key: string;
  readonly label: string;
  readonly confidence: number;
  readonly box: Box;
  /** It is what the alarm is about. */
  readonly alarm: boolean;
}

/** What was seen in one frame of a clip, `t` seconds after its start. */
export interface SeenFrame {
  readonly t: number;
  readonly boxes: readonly SeenBox[];
}

export interface AlarmPage {
  readonly items: readonly Alarm[];
  readonly nextCursor: string | null;
}

/** Names of colours, as the API has them. */
export const COLOURS = [
  'black',
  'white',
  'grey',
  'red',
  'orange',
  'yellow',
  'green',
  'blue',
  'purple',
  'brown',
  'pink',
] as const;
export type Colour = (typeof COLOURS)[number];

/** One object that a camera saw. */
export interface Sighting {
  readonly camera: string;
  readonly label: string;
  readonly colour: Colour | null;
  readonly firstSeenMs: number;
  readonly lastSeenMs: number;
  readonly track: string;
  readonly snapshot: string | null;
}

export interface Match extends Sighting {
  /** Likeness, 0..1. */
  readonly score: number;
}

/** Whose sightings, and of what; empty: everything. */
export interface SightingKind {
  readonly camera: string;
  readonly label: string;
  readonly colour: Colour | '';
}

/** In sight at or after, and before: milliseconds since 1970; null: without a bound. */
export interface TimeRange {
  readonly fromMs: number | null;
  readonly toMs: number | null;
}

export type SightingFilter = SightingKind & TimeRange;
