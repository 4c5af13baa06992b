import type { ComponentChildren } from 'preact';

export function Toggle(props: {
  pressed: boolean;
  onClick: () => void;
  children: ComponentChildren;
}) {
  return (
    <button type="button" class="toggle" aria-pressed={props.pressed} onClick={props.onClick}>
      {props.children}
    </button>
  );
}
