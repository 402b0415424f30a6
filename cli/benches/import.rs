//! What importing costs. Aims: one file at most 1.1 times its key derivations; a thousand identities at most a tenth of
//! what `pk12util -i` of NSS takes.
//!
//! Of one file, for files by openssl, by keytool, and by openssl with 600,000 rounds:
//! - `derivations`: the floor: that of the MAC and those of the two ciphers, by the same crates.
//! - `read`: [`file::read`].
//! - `import`: besides, pairing and [`Store::import`], into an empty store on disk.
//! - `cardcase`, `openssl`, `pk12util`: whole processes that import or print the file, the first and the last into a
//!   database on disk that is there and empty.
//!
//! Then a thousand identities, in one file and in as many, `pk12util` once each: it takes minutes, and one file at a time.
//! Then a thousand identities out of an NSS database with a password: `derivations` alone, two of each key, and `cardcase import
//! --from-nss`.
//!
//! The ratios at the end come from rounds in which each takes its turn, so that they share the machine's moods.
// Whatever fails ends the measurement
#![allow(missing_docs, clippy::indexing_slicing, clippy::unwrap_used)]

#[path = "../../tests/library/pki.rs"]
mod pki;
#[path = "import/writer.rs"]
mod writer;

use std::ffi::OsStr;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cardcase::Store;
use cardcase::file;
use cardcase::manage::Import;
use criterion::{BatchSize, Criterion};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use pki::{Ca, Home, Leaf, NOW, params};

const PASSWORD: &str = "a password";
const IDENTITIES: usize = 1000;

/// Turns of each way for the ratios of one file.
const TURNS: usize = 30;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let room = Room::new();
    let files = [room.openssl(2048), room.keytool(), room.openssl(600_000)];
    for file in &files {
        let mut group = criterion.benchmark_group(&file.name);
        for (what, run) in WAYS {
            group.bench_function(what, |bencher| {
                bencher.iter_batched(|| Place::new(&room), |place| run(file, &place), BatchSize::PerIteration);
            });
        }
        group.finish();
    }
    println!("\nmedians over {TURNS} turns, and what they are of the derivations; aim: at most 1.1");
    for file in &files {
        compare(&room, file);
    }
    println!("\n{IDENTITIES} identities; aim: at most a tenth of pk12util");
    room.many_in_one_file();
    room.many_files();
    println!("\n{IDENTITIES} identities in the database of a browser; aim: at most twice the derivations");
    room.many_in_a_browser();
    criterion.final_summary();
}

type Way = (&'static str, fn(&File, &Place));

const WAYS: [Way; 6] = [
    ("derivations", |file, _| file.derivations()),
    ("read", |file, _| drop(black_box(file.read()))),
    ("import", File::import),
    ("cardcase", |file, place| place.cardcase(&[&file.path])),
    ("openssl", |file, place| place.openssl(&file.path)),
    ("pk12util", |file, place| place.pk12util(&file.path)),
];

/// A file of one identity. All three makers have the same algorithms: SHA-256 for the MAC, AES-256 with a key derived by
/// PBKDF2 with HMAC-SHA-256 for the certificates and once more for the key.
struct File {
    name: String,
    path: PathBuf,
    bytes: Vec<u8>,
    rounds: u32,
}

impl File {
    fn new(maker: &str, path: PathBuf, rounds: u32) -> Self {
        let bytes = std::fs::read(&path).unwrap();
        Self { name: format!("{maker}, {rounds} rounds"), path, bytes, rounds }
    }

    /// RFC 7292 appendix B for the MAC is a digest of the digest as often as there are rounds.
    fn derivations(&self) {
        let mut digest = Sha256::digest([0; 192]);
        for _ in 1..self.rounds {
            digest = Sha256::digest(digest);
        }
        black_box(&digest);
        for _ in 0..2 {
            black_box(pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(PASSWORD.as_bytes(), &[7; 8], self.rounds));
        }
    }

    fn read(&self) -> Import {
        file::read(&self.bytes, PASSWORD).unwrap()
    }

    fn import(&self, place: &Place) {
        let imported = place.store.import(vec![self.read()], None, NOW).unwrap();
        assert_eq!(imported.imported.len(), 1);
    }
}

fn compare(room: &Room, file: &File) {
    let mut took: [Vec<Duration>; WAYS.len()] = std::array::from_fn(|_| Vec::with_capacity(TURNS));
    for _ in 0..TURNS {
        for ((_, run), took) in WAYS.iter().zip(&mut took) {
            let place = Place::new(room);
            took.push(timed(|| run(file, &place)));
        }
    }
    let medians = took.map(|mut took| {
        took.sort();
        took[TURNS / 2].as_secs_f64()
    });
    for ((what, _), median) in WAYS.iter().zip(medians) {
        println!("{:<24} {what:<12} {:>9.2} ms {:>8.2}", file.name, median * 1e3, median / medians[0]);
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Where the files are, and an empty NSS database to start from.
struct Room {
    directory: TempDir,
    authority: Ca,
}

impl Room {
    fn new() -> Self {
        let room = Self { directory: tempfile::tempdir().unwrap(), authority: Ca::root("Root") };
        std::fs::write(room.password(), PASSWORD).unwrap();
        std::fs::create_dir(room.nss()).unwrap();
        run("certutil", [OsStr::new("-N"), "-d".as_ref(), &sql(&room.nss()), "--empty-password".as_ref()]);
        room
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn password(&self) -> PathBuf {
        self.path("password")
    }

    fn nss(&self) -> PathBuf {
        self.path("nss")
    }

    /// As OpenSSL 3 writes it by default, but for the rounds.
    fn openssl(&self, rounds: u32) -> File {
        let leaf = self.authority.leaf("Person");
        let (pem, file) = (self.path("person.pem"), self.path(&format!("openssl-{rounds}.p12")));
        std::fs::write(&pem, writer::pem(&leaf, &self.authority.certificate)).unwrap();
        let rounds_text = rounds.to_string();
        let arguments = ["pkcs12", "-export", "-name", "person", "-iter", &rounds_text, "-passout"].map(OsStr::new);
        let password = format!("pass:{PASSWORD}");
        let rest = [password.as_ref(), "-in".as_ref(), pem.as_os_str(), "-out".as_ref(), file.as_os_str()];
        run("openssl", arguments.into_iter().chain(rest));
        File::new("openssl", file, rounds)
    }

    /// As Java writes it by default since 17: 10,000 rounds.
    fn keytool(&self) -> File {
        let file = self.path("keytool.p12");
        let arguments =
            ["-genkeypair", "-keyalg", "EC", "-groupname", "secp256r1", "-dname", "CN=Person", "-alias", "person"];
        let rest = ["-storetype", "PKCS12", "-storepass", PASSWORD, "-keystore"];
        run("keytool", arguments.into_iter().chain(rest).map(OsStr::new).chain([file.as_os_str()]));
        File::new("keytool", file, 10_000)
    }

    fn leaves(&self) -> Vec<Leaf> {
        (0..IDENTITIES).map(|number| self.authority.leaf_of(params(&format!("Person {number}")))).collect()
    }

    fn many_in_one_file(&self) {
        let path = self.path("many.p12");
        std::fs::write(&path, writer::p12(&self.leaves(), PASSWORD)).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        tell("read, in one file", timed(|| drop(file::read(&bytes, PASSWORD).unwrap())));
        for _ in 0..3 {
            tell("cardcase, in one file", timed(|| Place::new(self).cardcase(&[&path])));
        }
        tell("pk12util, in one file", timed(|| Place::new(self).pk12util(&path)));
    }

    fn many_files(&self) {
        let paths: Vec<PathBuf> = (0..IDENTITIES).map(|number| self.path(&format!("{number}.p12"))).collect();
        for (leaf, path) in self.leaves().into_iter().zip(&paths) {
            std::fs::write(path, writer::p12(&[leaf], PASSWORD)).unwrap();
        }
        let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        for _ in 0..3 {
            tell("cardcase, each in a file", timed(|| Place::new(self).cardcase(&paths)));
        }
        let place = Place::new(self);
        tell("pk12util, each in a file", timed(|| paths.iter().for_each(|path| place.pk12util(path))));
    }
}

/// Rounds of NSS with a password.
const NSS_ROUNDS: u32 = 10_000;

impl Room {
    fn many_in_a_browser(&self) {
        let (database, file) = (self.path("browser"), self.path("browser.p12"));
        std::fs::create_dir(&database).unwrap();
        std::fs::write(&file, writer::p12(&self.leaves(), PASSWORD)).unwrap();
        let (name, password) = (sql(&database), self.password());
        run("certutil", ["-N".as_ref(), "-d".as_ref(), name.as_os_str(), "-f".as_ref(), password.as_os_str()]);
        let given = ["-w".as_ref(), password.as_os_str(), "-k".as_ref(), password.as_os_str()];
        run("pk12util", ["-i".as_ref(), file.as_os_str(), "-d".as_ref(), name.as_os_str()].into_iter().chain(given));
        // An EC key is one sealed value with a code
        let floor = timed(|| {
            for _ in 0..2 * IDENTITIES {
                black_box(pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(&[7; 20], &[7; 32], NSS_ROUNDS));
            }
        });
        tell("derivations", floor);
        for _ in 0..3 {
            let place = Place::new(self);
            let took = timed(|| place.cardcase(&["--from-nss".as_ref(), database.as_os_str()]));
            tell("cardcase, from a browser", took);
            println!("{:<28} {:>9.2} of the derivations", "", took.as_secs_f64() / floor.as_secs_f64());
        }
    }
}

fn tell(what: &str, took: Duration) {
    println!("{what:<28} {:>9.1} ms", took.as_secs_f64() * 1e3);
}

/// Where things are imported to: a store and an NSS database, both empty.
struct Place {
    home: Home,
    store: Arc<Store>,
    nss: PathBuf,
    password: PathBuf,
}

impl Place {
    fn new(room: &Room) -> Self {
        let home = Home::new();
        let (store, nss) = (home.open(), home.path().join("nss"));
        std::fs::create_dir(&nss).unwrap();
        for file in std::fs::read_dir(room.nss()).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), nss.join(file.file_name())).unwrap();
        }
        Self { home, store, nss, password: room.password() }
    }

    fn cardcase(&self, files: &[impl AsRef<OsStr>]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cardcase"));
        command.arg("--store").arg(self.home.store_file()).arg("import").args(files);
        command.arg("--password-file").arg(&self.password).env("XDG_RUNTIME_DIR", self.home.path());
        finish(command);
    }

    fn openssl(&self, file: &Path) {
        let mut password = OsStr::new("file:").to_owned();
        password.push(&self.password);
        let arguments = ["pkcs12".as_ref(), "-nodes".as_ref(), "-in".as_ref(), file.as_os_str()];
        run("openssl", arguments.into_iter().chain(["-passin".as_ref(), password.as_os_str()]));
    }

    fn pk12util(&self, file: &Path) {
        let arguments = ["-i".as_ref(), file.as_os_str(), "-d".as_ref(), &sql(&self.nss)];
        run(
            "pk12util",
            arguments.into_iter().chain(["-w".as_ref(), self.password.as_os_str(), "-K".as_ref(), "".as_ref()]),
        );
    }
}

fn sql(directory: &Path) -> std::ffi::OsString {
    let mut name = OsStr::new("sql:").to_owned();
    name.push(directory);
    name
}

fn run<I: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = I>) {
    let mut command = Command::new(program);
    command.args(arguments);
    finish(command);
}

fn finish(mut command: Command) {
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
