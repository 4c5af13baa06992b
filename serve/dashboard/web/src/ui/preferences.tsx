/** Language and appearance: two small selects. */

import { LANGUAGE_NAMES, LANGUAGES, type Language, language, type MessageKey, t } from '../i18n';
import { chooseLanguage, chooseTheme, THEMES, type Theme, theme } from '../state/preferences';

export function Preferences() {
  return (
    <div class="preferences">
      <select
        class="quiet-select"
        aria-label={t('action.language')}
        title={t('action.language')}
        value={language.value}
        onChange={(event) => chooseLanguage(event.currentTarget.value as Language)}
      >
        {LANGUAGES.map((value) => (
          <option key={value} value={value}>
            {LANGUAGE_NAMES[value]}
          </option>
        ))}
      </select>
      <select
        class="quiet-select"
        aria-label={t('theme.label')}
        title={t('theme.label')}
        value={theme.value}
        onChange={(event) => chooseTheme(event.currentTarget.value as Theme)}
      >
        {THEMES.map((value) => (
          <option key={value} value={value}>
            {t(`theme.${value}` as MessageKey)}
          </option>
        ))}
      </select>
    </div>
  );
}
