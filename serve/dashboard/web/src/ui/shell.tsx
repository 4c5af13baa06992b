/** The signed-in page: header, the sections that the role may see, and the dialogs they open. */

import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { Permission } from '../domain/types';
import { t } from '../i18n';
import type { Workspace } from '../state/workspace';
import { AccessView } from './access-view';
import { AlarmFeed } from './alarm-feed';
import { AuditView } from './audit-view';
import { CameraGrid } from './camera-grid';
import { TowerMark } from './icons';
import { OwnPassword } from './own-password';
import { Preferences } from './preferences';
import { SearchView } from './search-view';

const SECTIONS = ['live', 'search', 'access', 'audit'] as const;
type Section = (typeof SECTIONS)[number];

/** What a section needs; live is for every role. */
const NEEDS: Readonly<Partial<Record<Section, Permission>>> = {
  search: 'object.search',
  access: 'key.manage',
  audit: 'audit.read',
};

function sectionOfHash(): Section {
  return SECTIONS.find((name) => location.hash === `#${name}`) ?? 'live';
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
  const allowed = SECTIONS.filter((name) => {
    const permission = NEEDS[name];
    return permission === undefined || workspace.can(permission);
  });
  const shown = allowed.includes(section.value) ? section.value : 'live';
  return (
    <div class="shell">
      <header class="topbar">
        <a class="brand" href="#live">
          <TowerMark />
          <span>Atalaia</span>
        </a>
        <nav class="sections" aria-label={t('nav.main')}>
          {allowed.map((name) => (
            <a
              key={name}
              href={`#${name}`}
              {...(shown === name ? { 'aria-current': 'page' as const } : {})}
            >
              {t(`nav.${name}`)}
            </a>
          ))}
        </nav>
        <div class="topbar-end">
          <Preferences />
          {workspace.session.value?.user ? <OwnPassword api={workspace.api} /> : null}
          <button type="button" class="button quiet" onClick={onSignOut}>
            {t('action.signOut')}
          </button>
        </div>
      </header>
      <Main section={shown} workspace={workspace} />
    </div>
  );
}

function Main({ section, workspace }: { section: Section; workspace: Workspace }) {
  switch (section) {
    case 'live':
      return (
        <main class="live-view">
          <CameraGrid workspace={workspace} />
          <AlarmFeed workspace={workspace} />
        </main>
      );
    case 'search':
      return (
        <main class="page-view search-view">
          <SearchView workspace={workspace} />
        </main>
      );
    case 'access':
      return (
        <main class="page-view">
          <AccessView workspace={workspace} />
        </main>
      );
    case 'audit':
      return (
        <main class="page-view">
          <AuditView workspace={workspace} />
        </main>
      );
  }
}
