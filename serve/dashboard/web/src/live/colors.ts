/** One colour per class, the same on every page and in every session; all readable on video. */

const PINNED: Readonly<Record<string, string>> = {
  person: '#ffb020',
  bicycle: '#4ade80',
  car: '#38bdf8',
  motorcycle: '#c084fc',
  bus: '#fb7185',
  truck: '#2dd4bf',
  dog: '#facc15',
  cat: '#f0abfc',
};

const PALETTE = [
  '#f97316',
  '#a3e635',
  '#22d3ee',
  '#818cf8',
  '#e879f9',
  '#fda4af',
  '#fde047',
  '#5eead4',
  '#93c5fd',
  '#d8b4fe',
] as const;

export function classColor(label: string): string {
  const pinned = Object.hasOwn(PINNED, label) ? PINNED[label] : undefined;
  return pinned ?? PALETTE[fnv1a(label) % PALETTE.length] ?? PALETTE[0];
}

function fnv1a(value: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < value.length; i += 1) {
    hash = Math.imul(hash ^ value.charCodeAt(i), 0x01000193) >>> 0;
  }
  return hash;
}
