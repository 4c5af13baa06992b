import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { Camera } from '../domain/types';
import { t } from '../i18n';
import { notify } from '../state/notices';
import type { Workspace } from '../state/workspace';
import { CameraDialog } from './camera-dialog';
import { CameraTile } from './camera-tile';
import { ConfirmDialog } from './confirm-dialog';
import { CameraIcon, PlusIcon } from './icons';
import { RulesDialog } from './rules-dialog';
import { explain } from './trouble';

type Open =
  | { readonly dialog: 'add' }
  | { readonly dialog: 'rules' | 'remove'; readonly camera: Camera };

export function CameraGrid({ workspace }: { workspace: Workspace }) {
  const open = useSignal<Open | null>(null);
  const close = () => {
    open.value = null;
  };
  useEscape(() => {
    workspace.focused.value = null;
  });
  const cameras = workspace.cameras.value;
  const trouble = workspace.camerasTrouble.value;
  return (
    <section class="cameras" aria-label={t('camera.list')}>
      <div class="cameras-head">
        <h2>{t('camera.list')}</h2>
        {cameras && cameras.length > 0 ? <p class="count">{countText(cameras)}</p> : null}
        {workspace.can('camera.manage') ? (
          <button
            type="button"
            class="button"
            onClick={() => {
              open.value = { dialog: 'add' };
            }}
          >
            <PlusIcon />
            {t('camera.add')}
          </button>
        ) : null}
      </div>
      {trouble ? (
        <p class="banner" role="alert">
          {explain(trouble)}
        </p>
      ) : null}
      <Tiles workspace={workspace} cameras={cameras} failed={trouble !== null} open={open} />
      {open.value?.dialog === 'add' ? <CameraDialog workspace={workspace} onClose={close} /> : null}
      {open.value?.dialog === 'rules' ? (
        <RulesDialog workspace={workspace} camera={open.value.camera} onClose={close} />
      ) : null}
      {open.value?.dialog === 'remove' ? (
        <RemoveDialog workspace={workspace} camera={open.value.camera} onClose={close} />
      ) : null}
    </section>
  );
}

interface TilesProps {
  readonly workspace: Workspace;
  readonly cameras: readonly Camera[] | null;
  readonly failed: boolean;
  readonly open: { value: Open | null };
}

function Tiles({ workspace, cameras, failed, open }: TilesProps) {
  if (cameras === null) return failed ? null : <p class="quiet-text">{t('camera.loading')}</p>;
  if (cameras.length === 0) {
    return (
      <div class="empty">
        <CameraIcon size={40} />
        <h3>{t('camera.none.title')}</h3>
        <p>{t(workspace.can('camera.manage') ? 'camera.none.text' : 'camera.none.ask')}</p>
      </div>
    );
  }
  return (
    <div class={`grid${workspace.focused.value !== null ? ' has-focus' : ''}`}>
      {cameras.map((camera) => (
        <CameraTile
          key={camera.id}
          workspace={workspace}
          camera={camera}
          onRules={(of) => {
            open.value = { dialog: 'rules', camera: of };
          }}
          onRemove={(of) => {
            open.value = { dialog: 'remove', camera: of };
          }}
        />
      ))}
    </div>
  );
}

function RemoveDialog(props: { workspace: Workspace; camera: Camera; onClose: () => void }) {
  const { workspace, camera, onClose } = props;
  return (
    <ConfirmDialog
      title={t('camera.remove')}
      question={t('camera.remove.question', { name: camera.name })}
      confirm={t('camera.remove')}
      onClose={onClose}
      onConfirm={async () => {
        await workspace.api.removeCamera(camera.id);
        notify('good', t('camera.removed', { name: camera.name }));
        await workspace.refreshCameras();
      }}
    />
  );
}

function countText(cameras: readonly Camera[]): string {
  const count = cameras.length;
  const live = cameras.filter((camera) => camera.state === 'live').length;
  const all = count === 1 ? t('camera.count.one') : t('camera.count.many', { count });
  return `${all} · ${t('camera.count.live', { count: live })}`;
}

function useEscape(onEscape: () => void): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key === 'Escape' && !document.querySelector('dialog[open]')) onEscape();
    };
    window.addEventListener('keydown', onKey);
    return () => window.removeEventListener('keydown', onKey);
  }, []);
}
