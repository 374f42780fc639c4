/** What happens to the configuration while the mirror runs. */
export type ConfigEvent =
  | {
      /** One setting of a configuration that was read anew; undefined: not set. */
      readonly kind: 'setting-changed';
      readonly setting: string;
      readonly from: string | undefined;
      readonly to: string | undefined;
      /** False: it takes a restart, and the old value goes on until then. */
      readonly isInEffect: boolean;
    }
  | {
      /** The configuration and the files that it names were read anew. */
      readonly kind: 'config-read';
      readonly trigger: 'signal' | 'file';
      readonly changes: number;
    }
  /** A file that the setting names has another content, which is in use from now on. */
  | { readonly kind: 'secret-renewed'; readonly setting: string }
  | {
      /** What was read anew has faults, one of which this is: the mirror goes on as it was. */
      readonly kind: 'config-refused';
      readonly problem: string;
    };
