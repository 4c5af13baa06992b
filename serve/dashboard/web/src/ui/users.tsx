/** Who of the tenant may sign in, and as what. */

import { useState } from 'preact/hooks';
import type { Api } from '../api/client';
import {
  type CameraGroup,
  isEmail,
  type Role,
  type User,
  type UserChanges,
} from '../domain/access';
import { formatDay, t } from '../i18n';
import { notify } from '../state/notices';
import { AccessList } from './access-list';
import { ConfirmDialog } from './confirm-dialog';
import { FormDialog } from './form-dialog';
import { chosenGroups, GroupsField, groupNames } from './group-select';
import { PasswordField, passwordProblem } from './password-field';
import { RoleField, RoleSelect } from './role-select';
import { RowActions, Table } from './table';
import { TextField } from './text-field';
import { explain } from './trouble';
import { useDialog } from './use-dialog';
import { useList } from './use-list';

type Open =
  | { readonly dialog: 'add' }
  | { readonly dialog: 'cameras' | 'password' | 'remove'; readonly user: User };

export function Users({ api, groups }: { api: Api; groups: readonly CameraGroup[] }) {
  const { items, error, reload } = useList((signal) => api.users(signal));
  const { open, setOpen, close, done } = useDialog<Open>(reload);
  const change = async (user: User, changes: UserChanges) => {
    try {
      await api.changeUser(user.id, changes);
      notify('good', t('user.changed', { name: user.name }));
    } catch (failure) {
      notify('bad', explain(failure));
    }
    await reload();
  };
  return (
    <AccessList
      title={t('user.list')}
      add={t('user.add')}
      onAdd={() => setOpen({ dialog: 'add' })}
      error={error}
      count={items?.length ?? null}
      none={t('user.none')}
      table={
        <UserTable
          users={items ?? []}
          groups={groups}
          onChange={change}
          onOpen={(dialog, user) => setOpen({ dialog, user })}
        />
      }
    >
      {open?.dialog === 'add' ? (
        <AddUser api={api} known={groups} onClose={close} onDone={done} />
      ) : null}
      {open?.dialog === 'cameras' ? (
        <ChooseCameras api={api} user={open.user} known={groups} onClose={close} onDone={done} />
      ) : null}
      {open?.dialog === 'password' ? (
        <NewPassword api={api} user={open.user} onClose={close} onDone={done} />
      ) : null}
      {open?.dialog === 'remove' ? (
        <ConfirmDialog
          title={t('user.remove')}
          question={t('user.remove.question', { name: open.user.name })}
          confirm={t('user.remove')}
          onClose={close}
          onConfirm={async () => {
            await api.removeUser(open.user.id);
            await done(t('user.removed', { name: open.user.name }));
          }}
        />
      ) : null}
    </AccessList>
  );
}

function UserTable(props: {
  users: readonly User[];
  groups: readonly CameraGroup[];
  onChange: (user: User, changes: UserChanges) => void;
  onOpen: (dialog: 'cameras' | 'password' | 'remove', user: User) => void;
}) {
  return (
    <Table
      columns={[t('user.name'), t('access.role'), t('access.cameras'), t('user.signedIn')]}
      actions
    >
      {props.users.map((user) => (
        <tr key={user.id} data-user={user.email}>
          <td>
            {user.name}
            <small>{user.email}</small>
            {user.provider ? <small>{t('user.provider', { name: user.provider })}</small> : null}
            {user.disabled ? <span class="chip offline">{t('user.disabled')}</span> : null}
          </td>
          <td>
            <RoleSelect
              label={t('user.role.of', { name: user.name })}
              value={user.role}
              disabled={user.provider !== null}
              onChange={(role) => props.onChange(user, { role })}
            />
          </td>
          <td>{groupNames(user.groups, props.groups)}</td>
          <td>{user.signedInMs === null ? t('access.never') : formatDay(user.signedInMs)}</td>
          <RowActions
            actions={[
              { label: t('user.cameras.set'), onClick: () => props.onOpen('cameras', user) },
              ...(user.provider === null
                ? [
                    {
                      label: t('user.password.set'),
                      onClick: () => props.onOpen('password', user),
                    },
                  ]
                : []),
              {
                label: t(user.disabled ? 'user.enable' : 'user.disable'),
                onClick: () => props.onChange(user, { disabled: !user.disabled }),
              },
              { label: t('user.remove'), onClick: () => props.onOpen('remove', user) },
            ]}
          />
        </tr>
      ))}
    </Table>
  );
}

interface UserDialogProps {
  readonly api: Api;
  readonly onClose: () => void;
  readonly onDone: (message: string) => Promise<void>;
}

function ChooseCameras(props: UserDialogProps & { user: User; known: readonly CameraGroup[] }) {
  const { api, user } = props;
  const [groups, setGroups] = useState<readonly string[]>(user.groups ?? []);
  return (
    <FormDialog
      title={t('user.cameras.of', { name: user.name })}
      submit={t('action.save')}
      problem={() => null}
      onSubmit={async () => {
        await api.changeUser(user.id, { groups: groups.length === 0 ? null : groups });
        await props.onDone(t('user.changed', { name: user.name }));
      }}
      onClose={props.onClose}
    >
      <GroupsField role={user.role} known={props.known} value={groups} onChange={setGroups} />
    </FormDialog>
  );
}

function AddUser({
  api,
  known,
  onClose,
  onDone,
}: UserDialogProps & { known: readonly CameraGroup[] }) {
  const [name, setName] = useState('');
  const [email, setEmail] = useState('');
  const [password, setPassword] = useState('');
  const [role, setRole] = useState<Role>('viewer');
  const [groups, setGroups] = useState<readonly string[]>([]);
  const problem = () => {
    if (!isEmail(email.trim())) return t('user.email.invalid');
    return passwordProblem(password);
  };
  const add = async () => {
    const named = name.trim() ? { name: name.trim() } : {};
    const limits = chosenGroups(role, groups);
    const user = await api.addUser({ email: email.trim(), ...named, role, ...limits, password });
    await onDone(t('user.added', { name: user.name }));
  };
  return (
    <FormDialog
      title={t('user.add')}
      submit={t('user.add')}
      problem={problem}
      onSubmit={add}
      onClose={onClose}
    >
      <TextField label={t('signin.email')} inputMode="email" value={email} onInput={setEmail} />
      <TextField label={t('user.name.optional')} value={name} onInput={setName} />
      <RoleField value={role} onChange={setRole} />
      <GroupsField role={role} known={known} value={groups} onChange={setGroups} />
      <PasswordField label={t('signin.password')} value={password} onInput={setPassword} />
    </FormDialog>
  );
}

function NewPassword({ api, user, onClose, onDone }: UserDialogProps & { user: User }) {
  const [password, setPassword] = useState('');
  return (
    <FormDialog
      title={t('user.password.of', { name: user.name })}
      submit={t('action.save')}
      problem={() => passwordProblem(password)}
      onSubmit={async () => {
        await api.changeUser(user.id, { password });
        await onDone(t('user.password.changed', { name: user.name }));
      }}
      onClose={onClose}
    >
      <PasswordField label={t('signin.password')} value={password} onInput={setPassword} />
    </FormDialog>
  );
}
