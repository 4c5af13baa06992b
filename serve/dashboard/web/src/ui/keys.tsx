/** Keys of the tenant, for programs. A key is shown once, when it is made. */

import { useState } from 'preact/hooks';
import type { Api } from '../api/client';
import type { AccessKey, CameraGroup, Role } from '../domain/access';
import { formatDay, t } from '../i18n';
import { notify } from '../state/notices';
import { AccessList } from './access-list';
import { ConfirmDialog } from './confirm-dialog';
import { Dialog } from './dialog';
import { FormDialog } from './form-dialog';
import { chosenGroups, GroupsField, groupNames } from './group-select';
import { RoleField, roleName } from './role-select';
import { RowActions, Table } from './table';
import { TextField } from './text-field';
import { useDialog } from './use-dialog';
import { useList } from './use-list';

/** The old key works on this long beside its successor. */
const OVERLAP_S = 3_600;

type Open =
  | { readonly dialog: 'issue' }
  | { readonly dialog: 'rotate' | 'revoke'; readonly key: AccessKey }
  | { readonly dialog: 'fresh'; readonly secret: string };

export function Keys({ api, groups }: { api: Api; groups: readonly CameraGroup[] }) {
  const { items, error, reload } = useList((signal) => api.keys(signal));
  const { open, setOpen, close, done } = useDialog<Open>(reload);
  const show = async (secret: string) => {
    setOpen({ dialog: 'fresh', secret });
    await reload();
  };
  const good = items?.filter((key) => !key.revoked);
  return (
    <AccessList
      title={t('key.list')}
      add={t('key.issue')}
      onAdd={() => setOpen({ dialog: 'issue' })}
      error={error}
      count={good?.length ?? null}
      none={t('key.none')}
      table={
        <KeyTable
          keys={good ?? []}
          groups={groups}
          onOpen={(dialog, key) => setOpen({ dialog, key })}
        />
      }
    >
      {open?.dialog === 'issue' ? (
        <IssueKey api={api} known={groups} onClose={close} onIssued={show} />
      ) : null}
      {open?.dialog === 'fresh' ? <FreshKey secret={open.secret} onClose={close} /> : null}
      {open?.dialog === 'rotate' ? (
        <FormDialog
          title={t('key.rotate')}
          submit={t('key.rotate')}
          problem={() => null}
          onSubmit={async () => show(await api.rotateKey(open.key.id, OVERLAP_S))}
          onClose={close}
        >
          <p class="dialog-text">{t('key.rotate.question', { name: open.key.name })}</p>
        </FormDialog>
      ) : null}
      {open?.dialog === 'revoke' ? (
        <ConfirmDialog
          title={t('key.revoke')}
          question={t('key.revoke.question', { name: open.key.name })}
          confirm={t('key.revoke')}
          onClose={close}
          onConfirm={async () => {
            await api.revokeKey(open.key.id);
            await done(t('key.revoked', { name: open.key.name }));
          }}
        />
      ) : null}
    </AccessList>
  );
}

function KeyTable(props: {
  keys: readonly AccessKey[];
  groups: readonly CameraGroup[];
  onOpen: (dialog: 'rotate' | 'revoke', key: AccessKey) => void;
}) {
  return (
    <Table
      columns={[
        t('key.name'),
        t('access.role'),
        t('access.cameras'),
        t('key.expires'),
        t('key.used'),
      ]}
      actions
    >
      {props.keys.map((key) => (
        <tr key={key.id} data-key={key.id}>
          <td>
            {key.name}
            <small>{key.prefix}…</small>
          </td>
          <td>{roleName(key.role)}</td>
          <td>{groupNames(key.groups, props.groups)}</td>
          <td>{key.expiresMs === null ? t('access.never') : formatDay(key.expiresMs)}</td>
          <td>{key.usedMs === null ? t('access.never') : formatDay(key.usedMs)}</td>
          <RowActions
            actions={[
              ...(key.replaced
                ? []
                : [{ label: t('key.rotate'), onClick: () => props.onOpen('rotate', key) }]),
              { label: t('key.revoke'), onClick: () => props.onOpen('revoke', key) },
            ]}
          />
        </tr>
      ))}
    </Table>
  );
}

function IssueKey(props: {
  api: Api;
  known: readonly CameraGroup[];
  onClose: () => void;
  onIssued: (secret: string) => Promise<void>;
}) {
  const [name, setName] = useState('');
  const [role, setRole] = useState<Role>('viewer');
  const [groups, setGroups] = useState<readonly string[]>([]);
  const [until, setUntil] = useState('');
  const ends = until === '' ? null : new Date(`${until}T00:00`);
  const problem = () => {
    if (name.trim() === '') return t('key.name.missing');
    return ends !== null && !(ends.getTime() > Date.now()) ? t('key.expires.past') : null;
  };
  const issue = async () => {
    const expiry = ends === null ? {} : { expires_at: ends.toISOString() };
    const body = { name: name.trim(), role, ...chosenGroups(role, groups), ...expiry };
    await props.onIssued(await props.api.issueKey(body));
  };
  return (
    <FormDialog
      title={t('key.issue')}
      submit={t('key.issue')}
      problem={problem}
      onSubmit={issue}
      onClose={props.onClose}
    >
      <TextField label={t('key.name')} hint={t('key.name.hint')} value={name} onInput={setName} />
      <RoleField value={role} onChange={setRole} />
      <GroupsField role={role} known={props.known} value={groups} onChange={setGroups} />
      <label class="field">
        <span>{t('key.expires.optional')}</span>
        <input type="date" value={until} onInput={(event) => setUntil(event.currentTarget.value)} />
      </label>
    </FormDialog>
  );
}

function FreshKey({ secret, onClose }: { secret: string; onClose: () => void }) {
  const copy = async () => {
    await navigator.clipboard.writeText(secret);
    notify('good', t('key.copied'));
  };
  return (
    <Dialog title={t('key.fresh')} onClose={onClose}>
      <p class="dialog-text">{t('key.fresh.text')}</p>
      <output class="secret">{secret}</output>
      <div class="dialog-foot">
        {/* Browsers let a page use the clipboard only by HTTPS or on this machine. */}
        {navigator.clipboard ? (
          <button type="button" class="button quiet" onClick={copy}>
            {t('key.copy')}
          </button>
        ) : null}
        <button type="button" class="button primary" onClick={onClose}>
          {t('action.close')}
        </button>
      </div>
    </Dialog>
  );
}
