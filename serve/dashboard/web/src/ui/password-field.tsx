/** Where somebody types a new password. */

import { MIN_PASSWORD } from '../domain/access';
import { t } from '../i18n';
import { TextField } from './text-field';

export interface PasswordFieldProps {
  readonly label: string;
  readonly value: string;
  readonly onInput: (value: string) => void;
}

export function PasswordField(props: PasswordFieldProps) {
  return (
    <TextField
      {...props}
      hint={t('user.password.hint', { n: MIN_PASSWORD })}
      secret
      autocomplete="new-password"
    />
  );
}

/** What is wrong with a new password; null: nothing. */
export function passwordProblem(password: string): string | null {
  return password.length < MIN_PASSWORD ? t('user.password.short', { n: MIN_PASSWORD }) : null;
}
