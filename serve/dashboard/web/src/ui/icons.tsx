/** The few pictograms of the page, drawn with strokes of the text's colour. */

import type { ComponentChildren } from 'preact';

function Icon({ children, size = 18 }: { children: ComponentChildren; size?: number }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 24 24"
      fill="none"
      stroke="currentColor"
      stroke-width="1.75"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      {children}
    </svg>
  );
}

export const TowerMark = ({ size = 28 }: { size?: number }) => (
  <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden="true">
    <rect width="32" height="32" rx="8" fill="var(--accent-solid)" />
    <path
      d="M8 8v5h16V8M13.3 8v2.2M18.7 8v2.2M10.5 13.5 9.5 25h13l-1-11.5M16 25v-4.5"
      fill="none"
      stroke="#fff"
      stroke-width="2"
      stroke-linecap="round"
      stroke-linejoin="round"
    />
  </svg>
);

export const PlusIcon = () => (
  <Icon>
    <path d="M12 5v14M5 12h14" />
  </Icon>
);
export const CloseIcon = () => (
  <Icon>
    <path d="m6 6 12 12M18 6 6 18" />
  </Icon>
);
export const EnlargeIcon = () => (
  <Icon>
    <path d="M14 4h6v6M20 4l-7 7M10 20H4v-6M4 20l7-7" />
  </Icon>
);
export const ShrinkIcon = () => (
  <Icon>
    <path d="M20 10h-6V4M14 10l7-7M4 14h6v6M10 14l-7 7" />
  </Icon>
);
export const RulesIcon = () => (
  <Icon>
    <path d="M5 8 12 4l7 5-2 9-9 2z" />
    <circle cx="5" cy="8" r="1.6" fill="currentColor" />
    <circle cx="19" cy="9" r="1.6" fill="currentColor" />
    <circle cx="8" cy="20" r="1.6" fill="currentColor" />
  </Icon>
);
export const TrashIcon = () => (
  <Icon>
    <path d="M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5" />
  </Icon>
);
export const EyeIcon = () => (
  <Icon>
    <path d="M3 12s3.5-6 9-6 9 6 9 6-3.5 6-9 6-9-6-9-6z" />
    <circle cx="12" cy="12" r="2.5" />
  </Icon>
);
export const EyeOffIcon = () => (
  <Icon>
    <path d="M3 12s3.5-6 9-6 9 6 9 6-3.5 6-9 6-9-6-9-6zM4 4l16 16" />
  </Icon>
);
export const CheckIcon = () => (
  <Icon size={16}>
    <path d="m5 12.5 4.5 4.5L19 7.5" />
  </Icon>
);
export const PlayIcon = () => (
  <Icon size={16}>
    <path d="M7 4.5v15l12-7.5z" />
  </Icon>
);
export const CameraIcon = ({ size = 28 }: { size?: number }) => (
  <Icon size={size}>
    <path d="M4 7h11a1.5 1.5 0 0 1 1.5 1.5v7A1.5 1.5 0 0 1 15 17H4a1.5 1.5 0 0 1-1.5-1.5v-7A1.5 1.5 0 0 1 4 7zM16.5 11l5-3v8l-5-3" />
  </Icon>
);
export const NoSignalIcon = () => (
  <Icon size={28}>
    <path d="M3 3l18 18M9 7h6a1.5 1.5 0 0 1 1.5 1.5V11l5-3v8M16.5 16.4A1.5 1.5 0 0 1 15 17H4a1.5 1.5 0 0 1-1.5-1.5v-7A1.5 1.5 0 0 1 4 7" />
  </Icon>
);
export const BellIcon = ({ size = 28 }: { size?: number }) => (
  <Icon size={size}>
    <path d="M6 16V11a6 6 0 0 1 12 0v5l1.5 2h-15zM10 20.5a2.2 2.2 0 0 0 4 0" />
  </Icon>
);
export const SearchIcon = ({ size = 28 }: { size?: number }) => (
  <Icon size={size}>
    <circle cx="10.5" cy="10.5" r="6" />
    <path d="m15 15 5.5 5.5" />
  </Icon>
);
export const UndoIcon = () => (
  <Icon>
    <path d="M9 7 5 11l4 4M5 11h9a5 5 0 0 1 0 10h-2" />
  </Icon>
);
