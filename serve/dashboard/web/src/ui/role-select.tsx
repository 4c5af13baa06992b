import { ROLES, type Role } from '../domain/access';
import { type MessageKey, t } from '../i18n';

/** What a role is called; one that this page does not know yet is shown as the API names it. */
export function roleName(role: string): string {
  return ROLES.includes(role as Role) ? t(`role.${role}` as MessageKey) : role;
}

export interface RoleSelectProps {
  readonly value: string;
  readonly onChange: (role: Role) => void;
  /** For those who do not see what stands beside it. */
  readonly label?: string;
  readonly disabled?: boolean;
}

export function RoleSelect({ value, onChange, label, disabled = false }: RoleSelectProps) {
  return (
    <select
      {...(label === undefined ? {} : { 'aria-label': label })}
      value={value}
      disabled={disabled}
      onChange={(event) => onChange(event.currentTarget.value as Role)}
    >
      {ROLES.map((role) => (
        <option key={role} value={role}>
          {roleName(role)}
        </option>
      ))}
    </select>
  );
}

export function RoleField(props: Omit<RoleSelectProps, 'label'>) {
  return (
    // biome-ignore lint/a11y/noLabelWithoutControl: the control is inside RoleSelect.
    <label class="field">
      <span>{t('access.role')}</span>
      <RoleSelect {...props} />
    </label>
  );
}
