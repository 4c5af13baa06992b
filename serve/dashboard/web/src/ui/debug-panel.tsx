/** What the overlay measured, for `?debug`. */

import { formatNumber, t } from '../i18n';
import type { PlayerStats } from '../live/player';

export function DebugPanel({ stats }: { stats: PlayerStats }) {
  const percent = stats.exactFraction === null ? '–' : formatNumber(stats.exactFraction * 100, 1);
  const late = (ms: number | null) => (ms === null ? '–' : formatNumber(ms));
  return (
    <dl class="debug" aria-label={t('debug.title')}>
      <dt>{t('debug.exact')}</dt>
      <dd data-testid="exact-fraction" data-value={stats.exactFraction ?? ''}>
        {percent}% ({stats.exact}/{stats.exact + stats.late}, −{stats.unseen})
      </dd>
      <dt>{t('debug.hold')}</dt>
      <dd data-testid="hold" data-value={stats.holdMs}>
        {formatNumber(stats.holdMs)} ms
      </dd>
      <dt>{t('debug.late')}</dt>
      <dd>
        {late(stats.latenessP50Ms)} / {late(stats.latenessP95Ms)} ms
      </dd>
      <dt>{stats.overlay}</dt>
      <dd>
        {stats.boxes} · {stats.stamped}/{stats.shown} · −{stats.passedOver}
      </dd>
    </dl>
  );
}
