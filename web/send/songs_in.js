/**
 * The songs among dropped files and folders.
 */

const songNames = /\.(wav|flac|mp3|m4a|aac|ogg|oga|opus|wma|aif|aiff|alac|ape|wv|mp4|m4v|mov|mkv|webm|avi)$/i;

/**
 * The files of a drop. Of folders only what looks like a song: they hold covers and lists as well.
 *
 * @param {DataTransfer} drop read before anything is awaited, because the browser empties it then
 * @returns {Promise<File[]>}
 */
export async function songsIn(drop) {
  const entries = [...drop.items].map((item) => item.webkitGetAsEntry());
  const files = [...drop.files];
  if (!entries.some((entry) => entry?.isDirectory)) return files;
  const found = await Promise.all(entries.map((entry) => entry ? filesOf(entry, false) : []));
  return found.flat();
}

/**
 * Those of a chosen folder that look like songs.
 *
 * @param {Iterable<File>} files
 */
export function songsAmong(files) {
  return [...files].filter(looksLikeSong);
}

/**
 * @param {FileSystemEntry} entry
 * @param {boolean} isInFolder
 * @returns {Promise<File[]>}
 */
async function filesOf(entry, isInFolder) {
  if (entry.isDirectory) {
    const found = [];
    for (const child of await childrenOf(/** @type {FileSystemDirectoryEntry} */ (entry))) {
      found.push(...await filesOf(child, true));
    }
    return found;
  }
  const file = await new Promise((/** @type {(file: File) => void} */ resolve, reject) =>
    /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject)
  );
  return !isInFolder || looksLikeSong(file) ? [file] : [];
}

/**
 * @param {FileSystemDirectoryEntry} folder
 * @returns {Promise<FileSystemEntry[]>}
 */
async function childrenOf(folder) {
  const reader = folder.createReader();
  const children = [];
  while (true) { // it gives a hundred at a time
    const some = await new Promise((/** @type {(found: FileSystemEntry[]) => void} */ resolve, reject) =>
      reader.readEntries(resolve, reject)
    );
    if (!some.length) return children;
    children.push(...some);
  }
}

/** @param {File} file */
function looksLikeSong(file) {
  return /^(audio|video)\//.test(file.type) || songNames.test(file.name);
}
