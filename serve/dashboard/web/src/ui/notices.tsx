import { t } from '../i18n';
import { dismiss, notices } from '../state/notices';
import { CloseIcon } from './icons';

export function Notices() {
  return (
    <div class="notices" role="status" aria-live="polite">
      {notices.value.map((notice) => (
        <div key={notice.id} class={`notice ${notice.tone}`}>
          <span>{notice.text}</span>
          <button
            type="button"
            class="icon-button"
            aria-label={t('action.close')}
            onClick={() => dismiss(notice.id)}
          >
            <CloseIcon />
          </button>
        </div>
      ))}
    </div>
  );
}
