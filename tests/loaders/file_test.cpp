// What a path can hold (F01-F12), and what reading can do.
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "core/error.h"
#include "loaders/file.h"
#include "loaders/gguf.h"
#include "tests/catch.h"
#include "tests/loaders/temp_dir.h"
#include "tests/loaders/tiny_model.h"

namespace kerf::test {
namespace {

namespace fs = std::filesystem;
using gguf::Access;

/// The refusal; the test fails if there is none. Opening must never wait (generous: the machine may be busy).
std::string refusal(const fs::path& path, Access access = Access::mmap) {
  const auto start = std::chrono::steady_clock::now();
  std::string text = "(opened)";
  try {
    gguf::File::open(path, {.access = access});
  } catch (const FileError& e) {
    text = e.what();
    CHECK(e.at.path == path.string());
  }
  CHECK(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < 5);
  return text;
}

bool says(const std::string& text, std::string_view part) {
  INFO(text);
  CHECK(text.find(part) != std::string::npos);
  return text.find(part) != std::string::npos;
}

std::string text_of(int code) { return std::generic_category().message(code); }

}  // namespace

TEST_CASE("F01 F02 F05 F06: missing, directory, forbidden, loop") {
  const TempDir dir;
  says(refusal(dir / "none.gguf"), text_of(ENOENT));
  fs::create_directory(dir / "folder.gguf");
  says(refusal(dir / "folder.gguf"), "a directory");
  fs::create_symlink("loop.gguf", dir / "loop.gguf");
  says(refusal(dir / "loop.gguf"), text_of(ELOOP));
  fs::create_symlink("nowhere", dir / "dangling.gguf");
  says(refusal(dir / "dangling.gguf"), text_of(ENOENT));
  const auto locked = dir.write("locked.gguf", "GGUF");
  fs::permissions(locked, fs::perms::none);
  if (::geteuid() != 0) {
    says(refusal(locked), text_of(EACCES));
  } else {
    // Root may read everything. The same errno handling, through a name no file can have.
    says(refusal(dir / std::string(300, 'n')), text_of(ENAMETOOLONG));
  }
}

TEST_CASE("F03 F04: pipes, devices and /proc are refused at once") {
  const TempDir dir;
  const auto fifo = dir / "pipe.gguf";
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  says(refusal(fifo), "a regular file, got a FIFO");
  says(refusal("/dev/zero"), "a regular file, got a device");
  says(refusal("/dev/null"), "a regular file, got a device");
  says(refusal("/proc/self/mem"), "a regular file, got a file of /proc");
}

TEST_CASE("F07: a terabyte of zeros is refused before it is read") {
  const TempDir dir;
  const auto path = dir.write("sparse.gguf", "");
  std::error_code failed;
  fs::resize_file(path, uint64_t{1} << 40, failed);
  if (failed) fs::resize_file(path, uint64_t{1} << 34);  // file systems with smaller limits
  for (const auto access : {Access::mmap, Access::read}) says(refusal(path, access), "got 00 00 00 00");
  // With a good header in front, the copy does not fit in memory and is not begun. (A machine with a terabyte would
  // have to read it.)
  const auto model = tiny_llama().bytes();
  dir.write("sparse.gguf", model);
  fs::resize_file(path, uint64_t{1} << 40, failed);
  if (!failed && ::sysconf(_SC_PHYS_PAGES) < (int64_t{1} << 28)) {
    try {
      gguf::File::open(path, {.access = Access::read});
      FAIL("opened");
    } catch (const Error& e) {
      CHECK(e.kind == ErrorKind::memory);
      says(e.what(), "1.0 TiB");
    }
    CHECK(gguf::File::open(path).warnings().size() == 1);
  }
}

TEST_CASE("F09: a file replaced by rename while it is open stays the one that was opened") {
  const TempDir dir;
  const auto path = dir.write("m.gguf", tiny_llama({.seed = 1}).bytes());
  const auto other = tiny_llama({.seed = 2});
  dir.write("new.gguf", other.bytes());
  for (const auto access : {Access::mmap, Access::read}) {
    const auto expected = tiny_llama({.seed = 1});
    dir.write("old.gguf", expected.bytes());
    fs::rename(dir / "old.gguf", path);
    const auto file = gguf::File::open(path, {.access = access});
    dir.write("new.gguf", other.bytes());
    fs::rename(dir / "new.gguf", path);
    for (size_t i = 0; i < file.tensors().size(); ++i) {
      const auto data = file.data(file.tensors()[i]);
      REQUIRE(data.size() == expected.tensors[i].data.size());
      CHECK(std::memcmp(data.data(), expected.tensors[i].data.data(), data.size()) == 0);
    }
  }
}

TEST_CASE("F10: control characters of a file name never reach the terminal") {
  const TempDir dir;
  const auto text = refusal(dir.write("a\nb\x1b]0;title\x07.gguf", "nope"));
  says(text, "a\\x0ab\\x1b]0;title\\x07.gguf: offset 0: magic");
  CHECK(text.find('\n') == std::string::npos);
  CHECK(text.find('\x1b') == std::string::npos);
}

TEST_CASE("F11: the size at open is the limit; growing is noted, shrinking refused") {
  const TempDir dir;
  const auto path = dir.write("m.bin", std::string(100, 'x'));
  const OpenFile file(path);
  CHECK_FALSE(file.changed());
  {
    const Memory before = Memory::map(file);
    fs::resize_file(path, 5000);
    CHECK(before.bytes().size() == 100);
    CHECK(Memory::copy(file).bytes().size() == 100);
  }
  REQUIRE(file.changed());
  says(*file.changed(), "grew from 100 to 5000 bytes");
  fs::resize_file(path, 60);
  CHECK_THROWS_AS(file.changed(), FileError);
  try {
    Memory::copy(file);
    FAIL("read past the end");
  } catch (const FileError& e) {
    CHECK(e.at.offset == 60u);
    says(e.what(), "offset 60: read: expected 40 more bytes, got the end of the file");
  }
}

TEST_CASE("F12: a read error names path, offset and errno") {
  std::array<std::byte, 64> out{};
  size_t calls = 0;
  const ReadAt broken_disk = [&](std::span<std::byte> part, uint64_t offset) -> ssize_t {
    if (++calls % 2 == 1) {
      errno = EINTR;
      return -1;
    }
    if (offset >= 30) {
      errno = EIO;
      return -1;
    }
    part[0] = std::byte{7};
    return 1;
  };
  try {
    read_fully("disk.gguf", broken_disk, 10, out);
    FAIL("no error");
  } catch (const FileError& e) {
    CHECK(e.at.offset == 30u);
    CHECK(std::string(e.what()) == "disk.gguf: offset 30: read: " + text_of(EIO));
  }
  // Twenty reads of one byte each had worked, each after an interruption.
  CHECK(calls == 42);
  CHECK(out[19] == std::byte{7});
  CHECK(out[20] == std::byte{0});
}

TEST_CASE("an empty file is refused in both ways of reading") {
  const TempDir dir;
  const auto path = dir.write("empty.gguf", "");
  for (const auto access : {Access::mmap, Access::read}) says(refusal(path, access), "size: expected >= 24 bytes, got 0");
}

}  // namespace kerf::test
