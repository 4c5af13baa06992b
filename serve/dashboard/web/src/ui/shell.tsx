/** The signed-in page: header, the two sections, and the dialogs that they open. */

import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { t } from '../i18n';
import type { Workspace } from '../state/workspace';
import { AlarmFeed } from './alarm-feed';
import { CameraGrid } from './camera-grid';
import { TowerMark } from './icons';
import { Preferences } from './preferences';
import { SearchView } from './search-view';

const SECTIONS = ['live', 'search'] as const;
type Section = (typeof SECTIONS)[number];

function sectionOfHash(): Section {
  return location.hash === '#search' ? 'search' : 'live';
}

export interface ShellProps {
  readonly workspace: Workspace;
  readonly onSignOut: () => void;
}

export function Shell({ workspace, onSignOut }: ShellProps) {
  const section = useSignal<Section>(sectionOfHash());
  useEffect(() => {
    const onHash = () => {
      section.value = sectionOfHash();
    };
    window.addEventListener('hashchange', onHash);
    return () => window.removeEventListener('hashchange', onHash);
  }, [section]);
  return (
    <div class="shell">
      <header class="topbar">
        <a class="brand" href="#live">
          <TowerMark />
          <span>Atalaia</span>
        </a>
        <nav class="sections" aria-label={t('nav.main')}>
          {SECTIONS.map((name) => (
            <a
              key={name}
              href={`#${name}`}
              {...(section.value === name ? { 'aria-current': 'page' as const } : {})}
            >
              {t(`nav.${name}`)}
            </a>
          ))}
        </nav>
        <div class="topbar-end">
          <Preferences />
          <button type="button" class="button quiet" onClick={onSignOut}>
            {t('action.signOut')}
          </button>
        </div>
      </header>
      {section.value === 'live' ? (
        <main class="live-view">
          <CameraGrid workspace={workspace} />
          <AlarmFeed workspace={workspace} />
        </main>
      ) : (
        <main class="search-view">
          <SearchView workspace={workspace} />
        </main>
      )}
    </div>
  );
}
