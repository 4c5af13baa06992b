/** Bodies as the API sends them. */

export function alarmJson(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    id: '6f6b3a34-8a53-5c22-b4a3-2f8f7d7a3c11',
    camera: 'gate',
    rule: 'people',
    kind: 'zone_entry',
    class: 'person',
    confidence: 0.87,
    box: [0.1, 0.2, 0.3, 0.4],
    track: 't1',
    at: '2026-01-02T03:04:05.678901Z',
    state: 'new',
    source: 'live',
    snapshot: '/v1/alarms/6f6b3a34-8a53-5c22-b4a3-2f8f7d7a3c11/snapshot',
    latency_ms: { receive: 20, queue: 1, detect: 40, rule: 0.2, publish: 2, total: 63.2 },
    ...changes,
  };
}

export function cameraJson(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    id: 'gate',
    name: 'North gate',
    url: 'rtsp://***@192.0.2.10:554/stream1',
    substream_url: null,
    detect_fps: 5,
    enabled: true,
    state: 'live',
    reason: 'frames are fresh',
    since: '2026-01-02T03:04:05Z',
    stats: {
      fps: 25,
      width: 1920,
      height: 1080,
      codec: 'h264',
      watched_fps: 5,
      skipped: {},
      last_frame_at: null,
    },
    ...changes,
  };
}

export function clipJson(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    state: 'ready',
    reason: null,
    code: null,
    from: '2026-01-02T03:04:00.400Z',
    to: '2026-01-02T03:04:15.700Z',
    alarm_at_s: 5.2,
    gaps: [{ from: '2026-01-02T03:04:02Z', to: '2026-01-02T03:04:04Z' }],
    url: '/media/eyJ0.eyJ1.s-_g',
    boxes: { json: '/media/eyJ0.eyJ2.s-_g', vtt: '/media/eyJ0.eyJ3.s-_g' },
    ...changes,
  };
}

export function objectJson(changes: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    camera: 'gate',
    track: '19ab-8c-0-person',
    class: 'person',
    colour: null,
    confidence: 0.9,
    box: [0.1, 0.2, 0.3, 0.4],
    first_seen: '2026-01-02T03:04:05.000000Z',
    last_seen: '2026-01-02T03:04:09.000000Z',
    source: 'live',
    snapshot: '/v1/snapshots/objects/gate/0.jpg',
    recording: '/v1/recordings?camera=gate',
    ...changes,
  };
}
