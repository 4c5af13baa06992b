/** A picture behind the key: fetched with the header, shown as a blob URL, which is revoked after. */

import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Api } from '../api/client';
import { asTrouble } from '../state/workspace';

export interface BlobImageProps {
  readonly api: Api;
  readonly path: string | null;
  readonly alt: string;
  readonly fallback: ComponentChildren;
}

export function BlobImage({ api, path, alt, fallback }: BlobImageProps) {
  const holder = useRef<HTMLDivElement>(null);
  const [url, setUrl] = useState<string | null>(null);
  const [failed, setFailed] = useState(false);
  useEffect(() => {
    const element = holder.current;
    if (!element || path === null) return;
    const abort = new AbortController();
    let made: string | null = null;
    const load = async () => {
      try {
        const blob = await api.picture(path, abort.signal);
        if (abort.signal.aborted) return;
        made = URL.createObjectURL(blob);
        setUrl(made);
      } catch (error) {
        if (abort.signal.aborted) return;
        asTrouble(error);
        setFailed(true);
      }
    };
    // A long feed loads only the pictures that are looked at.
    const observer = new IntersectionObserver(
      (entries) => {
        if (!entries.some((entry) => entry.isIntersecting)) return;
        observer.disconnect();
        void load();
      },
      { rootMargin: '200px' },
    );
    observer.observe(element);
    return () => {
      abort.abort();
      observer.disconnect();
      if (made !== null) URL.revokeObjectURL(made);
      setUrl(null);
      setFailed(false);
    };
  }, [api, path]);
  return (
    <div ref={holder} class="thumb">
      {url !== null ? (
        <img src={url} alt={alt} draggable={false} />
      ) : (
        <span class={path !== null && !failed ? 'thumb-wait' : 'thumb-none'}>
          {path === null || failed ? fallback : null}
        </span>
      )}
    </div>
  );
}
