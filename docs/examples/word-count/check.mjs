// Compares wc.wasm with GNU `wc` (LC_ALL=C) file by file.
//
//   node check.mjs [RANDOM_FILES [FOLDER [ENDING]]]
//
// RANDOM_FILES (default 3000) seeded files of hostile bytes are made in a
// temporary folder; then every file below FOLDER whose name ends in ENDING
// (default .rs) is compared too. Exit 1 at any difference, naming the file.
import { WASI } from 'node:wasi';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';

const here = path.dirname(new URL(import.meta.url).pathname);

// Runs the module on each of `names`; the counts go to standard output as JSON.
async function count(folder, scratch, names) {
  const module = await WebAssembly.compile(fs.readFileSync(path.join(here, 'wc.wasm')));
  const counts = [];
  for (const name of names) {
    const wasi = new WASI({
      version: 'preview1', args: ['wc', name, 'out/count'], returnOnExit: true,
      preopens: { '.': folder, out: scratch },
    });
    const status = wasi.start(await WebAssembly.instantiate(module, wasi.getImportObject()));
    counts.push(status === 0
      ? fs.readFileSync(path.join(scratch, 'count'), 'latin1') : `exit ${status}`);
  }
  process.stdout.write(JSON.stringify(counts));
}

if (process.argv[2] === '--count') {
  const [folder, scratch] = process.argv.slice(3);
  await count(folder, scratch, JSON.parse(fs.readFileSync(0, 'utf8')));
  process.exit(0);
}

const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'wc-check-'));
process.on('exit', () => fs.rmSync(scratch, { recursive: true, force: true }));

// node:wasi keeps a finished instance's files open, so every batch is counted
// by a process of its own.
function ours(folder, names) {
  return JSON.parse(execFileSync(process.execPath,
    ['--no-warnings', process.argv[1], '--count', folder, path.join(scratch, 'out')],
    { input: JSON.stringify(names), encoding: 'utf8', maxBuffer: 1 << 26 }));
}

function theirs(folder, names) {
  const text = execFileSync('wc', ['--', ...names], {
    cwd: folder, env: { ...process.env, LC_ALL: 'C' }, encoding: 'latin1', maxBuffer: 1 << 26,
  });
  return text.split('\n').slice(0, names.length)
    .map((line) => line.trim().split(/ +/).slice(0, 3).join(' ') + '\n');
}

let compared = 0, bytes = 0, different = 0;
function compare(folder, names) {
  for (let at = 0; at < names.length; at += 100) {
    const batch = names.slice(at, at + 100);
    const expected = theirs(folder, batch), got = ours(folder, batch);
    for (let i = 0; i < batch.length; i++) {
      compared++;
      bytes += Number(got[i].split(' ')[2]) || 0;
      if (got[i] === expected[i]) continue;
      different++;
      console.error(`${path.join(folder, batch[i])}: wc ${JSON.stringify(expected[i])}, ` +
        `wc.wasm ${JSON.stringify(got[i])}`);
    }
  }
}

// A small seeded generator, so that a difference can be found again.
let state = 0x2545f491;
function random(below) {
  state ^= state << 13; state ^= state >>> 17; state ^= state << 5; state >>>= 0;
  return state % below;
}
const alphabets = [
  () => random(256),
  () => [0x20, 0x0a, 0x61, 0x62][random(4)],
  () => [0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x20, 0x41][random(7)],
  () => [0x00, 0x01, 0x08, 0x0e, 0x1f, 0x7f, 0x80, 0xff, 0x20, 0x21, 0x7e][random(11)],
  () => 0x80 + random(128),
  () => random(33),
  () => (random(40) === 0 ? 0x0a : 0x21 + random(94)),
];
const sizes = [0, 1, 2, 3, 7, 64, 500, 5000];

const made = path.join(scratch, 'in');
fs.mkdirSync(made);
fs.mkdirSync(path.join(scratch, 'out'));
const names = [];
function make(name, content) {
  fs.writeFileSync(path.join(made, name), content);
  names.push(name);
}
// Every byte alone, within a word, and between two words.
for (let byte = 0; byte < 256; byte++) {
  make(`byte-${byte}`, Buffer.from([byte]));
  make(`within-${byte}`, Buffer.from([0x61, byte, 0x61]));
  make(`between-${byte}`, Buffer.from([0x61, 0x20, byte, 0x20, 0x61]));
}
make('empty', '');
make('no-newline', 'one two');
make('crlf', 'one two\r\nthree\r\n\r\n');
make('utf-8', 'grüße an alle — 你好 世界 \u00a0 \u2003x\u2003y\n');
make('utf-16', Buffer.from('\ufeffone two\n', 'utf16le'));
make('nul', Buffer.alloc(100_000));
make('one-line', 'x'.repeat(20_000_000));
make('one-line-words', 'ab '.repeat(5_000_000));
make('newlines', '\n'.repeat(3_000_000));
// Words and line ends right at the edges of the module's reads.
for (let size = 65_530; size <= 65_542; size++) {
  make(`edge-word-${size}`, 'w'.repeat(size) + ' w');
  make(`edge-space-${size}`, ' '.repeat(size) + 'w\n');
  make(`edge-double-${size}`, 'w'.repeat(2 * size) + '\x80w\x01\n');
}
const wanted = Number(process.argv[2] ?? 3000);
for (let i = 0; i < wanted; i++) {
  const byte = alphabets[i % alphabets.length];
  const size = random(30) === 0 ? 60_000 + random(150_000) : random(sizes[random(sizes.length)] + 1);
  make(`random-${i}`, Buffer.from(Array.from({ length: size }, byte)));
}
compare(made, names);

if (process.argv[3]) {
  const folder = path.resolve(process.argv[3]), ending = process.argv[4] ?? '.rs';
  const found = fs.readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(ending))
    .map((entry) => path.relative(folder, path.join(entry.parentPath ?? entry.path, entry.name)));
  compare(folder, found);
}
console.log(`${compared} files, ${bytes} bytes: ${different} different`);
process.exitCode = different === 0 ? 0 : 1;
