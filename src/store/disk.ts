import fs from 'node:fs';
import { promisify } from 'node:util';
import { Unlinking, type UnlinkResult } from './unlinking.ts';

/**
 * The file calls that the store makes, as a value: tests put a decorator around it that fails the
 * k-th call. Paths are absolute; every error is Node's own, with `code`.
 */
export interface Disk {
  open(path: string, flags: 'r' | 'r+' | 'wx+'): Promise<DiskFile>;
  /** Makes the renamed or removed names of a folder survive a power cut. */
  syncFolder(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  /** Unlinks each of them, whatever becomes of the others; answers what each met, and never rejects. */
  unlinkAll(paths: readonly string[]): Promise<readonly UnlinkResult[]>;
  makeFolder(path: string): Promise<void>;
  /** Bytes that an unprivileged writer may still write, and the size of the file system. */
  space(path: string): Promise<{ freeBytes: number; totalBytes: number }>;
}

/** An open file. Positions and lengths in bytes; a `DiskFile` is closed by whoever opened it. */
export interface DiskFile {
  readonly fd: number;
  /** Fills `buffer` from `position`; answers how many bytes there were. */
  read(buffer: Uint8Array, position: number): Promise<number>;
  /** Writes all of `bytes` at `position`. */
  write(bytes: Uint8Array, position: number): Promise<void>;
  datasync(): Promise<void>;
  stat(): Promise<FileStat>;
  close(): Promise<void>;
}

/** Whether what a call names is not there. */
export function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}

export interface FileStat {
  readonly sizeBytes: number;
  /** What it takes of the disk, as far as the file system knows. */
  readonly allocatedBytes: number;
  readonly isFile: boolean;
  /** Of an open file no other one of the file system has this number. */
  readonly inode: number;
}

const openFile = promisify(fs.open);
const closeFile = promisify(fs.close);
const syncFile = promisify(fs.fsync);
const datasyncFile = promisify(fs.fdatasync);
const statFile = promisify(fs.fstat);

const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK } = fs.constants;

const openBits = { r: O_RDONLY, 'r+': O_RDWR, 'wx+': O_RDWR | O_CREAT | O_EXCL } as const;

/** Owner only: a cache may hold private images. */
const fileMode = 0o600;
const folderMode = 0o700;

const unlinking = new Unlinking();

export const systemDisk: Disk = {
  async open(path, flags) {
    // No symlink planted in the cache folder is ever followed, and no pipe is waited for: open(2).
    const bits = openBits[flags] | O_NOFOLLOW | O_NONBLOCK;
    return new SystemFile(await openFile(path, bits, fileMode));
  },
  async syncFolder(path) {
    const fd = await openFile(path, 'r');
    try {
      await syncFile(fd);
    } finally {
      await closeFile(fd);
    }
  },
  rename: (from, to) => fs.promises.rename(from, to),
  unlink: (path) => fs.promises.unlink(path),
  unlinkAll: (paths) => unlinking.unlinkAll(paths),
  async makeFolder(path) {
    await fs.promises.mkdir(path, { recursive: true, mode: folderMode });
  },
  async space(path) {
    const { bavail, blocks, bsize } = await fs.promises.statfs(path);
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  },
};

/** Plain descriptors and callbacks: on the read path a FileHandle costs several promises a call. */
class SystemFile implements DiskFile {
  readonly fd: number;

  constructor(fd: number) {
    this.fd = fd;
  }

  read(buffer: Uint8Array, position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      let done = 0;
      const step = (): void => {
        fs.read(this.fd, buffer, done, buffer.length - done, position + done, (error, count) => {
          if (error !== null) return reject(error);
          done += count;
          if (count === 0 || done === buffer.length) resolve(done);
          else step();
        });
      };
      step();
    });
  }

  write(bytes: Uint8Array, position: number): Promise<void> {
    return new Promise((resolve, reject) => {
      let done = 0;
      const step = (): void => {
        fs.write(this.fd, bytes, done, bytes.length - done, position + done, (error, count) => {
          if (error !== null) return reject(error);
          done += count;
          if (done === bytes.length) resolve();
          else step();
        });
      };
      step();
    });
  }

  datasync(): Promise<void> {
    return datasyncFile(this.fd);
  }

  async stat(): Promise<FileStat> {
    const stat = await statFile(this.fd);
    return {
      sizeBytes: stat.size,
      // stat(2): st_blocks counts 512 bytes, whatever the block size.
      allocatedBytes: stat.blocks * 512,
      isFile: stat.isFile(),
      inode: stat.ino,
    };
  }

  close(): Promise<void> {
    return closeFile(this.fd);
  }
}
