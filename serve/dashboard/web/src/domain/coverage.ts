/** What the page says of a camera's coverage. */

import { formatNumber, type MessageKey, t } from '../i18n';
import type { CameraCoverage } from './types';

const CAUSES = new Set([
  'unobserved',
  'connecting',
  'watcher',
  'detector',
  'room',
  'camera',
  'blurred',
  'frozen',
  'covered',
  'glare',
  'black',
]);

/** Like "today 99.8 % analysed, 3 min blind". Never 100 % where a second is missing. */
export function coverageToday({ expectedS, analysedS, blindS }: CameraCoverage): string {
  const percent = Math.floor((analysedS / expectedS) * 1_000) / 10;
  const share = t('coverage.today', { percent: formatNumber(percent, 1) });
  return blindS < 1 ? share : `${share} · ${t('coverage.blind', { time: duration(blindS) })}`;
}

/** The blind time by cause, longest first; empty where there is none. */
export function blindCauses({ causes }: CameraCoverage): string {
  return [...causes]
    .filter(([, seconds]) => seconds >= 1)
    .sort((a, b) => b[1] - a[1])
    .map(([cause, seconds]) => `${causeName(cause)}: ${duration(seconds)}`)
    .join('\n');
}

/** A cause of a later version is shown as it is. */
function causeName(cause: string): string {
  return CAUSES.has(cause) ? t(`coverage.cause.${cause}` as MessageKey) : cause;
}

function duration(seconds: number): string {
  if (seconds < 60) return t('coverage.seconds', { n: formatNumber(seconds) });
  if (seconds < 3_600) return t('coverage.minutes', { n: formatNumber(seconds / 60, 1) });
  return t('coverage.hours', { n: formatNumber(seconds / 3_600, 1) });
}
