// Emulated devices: what --device says of them, their memory, their link to the host.
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <numeric>

#include "backends/backends.h"
#include "core/error.h"
#include "core/threadpool.h"
#include "tests/catch.h"

using namespace kerf;
using Catch::Matchers::Contains;

namespace {

std::unique_ptr<Device> device(std::string_view text) { return make_device(text, device_kinds()); }

/// The kernel copies bytes into a pipe, or says EFAULT where a program would get a signal.
bool readable(const void* byte) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const bool ok = write(ends[1], byte, 1) == 1;
  close(ends[0]);
  close(ends[1]);
  return ok;
}

class Inside {
 public:
  explicit Inside(Device& d) : device_(d) { d.enter(); }
  ~Inside() { device_.leave(); }

 private:
  Device& device_;
};

}  // namespace

TEST_CASE("emulated devices have a number, a size, a rate and an order") {
  for (const std::string kind : {"emu", "emu64"}) {
    const auto d = device(kind + ":3=64MiB,16GB/s,random:3");
    CHECK(d->id() == kind + ":3");
    CHECK(d->limit() == int64_t{64} << 20);
    for (const std::string good : {":0=1GiB", ":0=1GiB,forward", ":0=1GiB,reverse", ":0=1GiB,random:0", ":0=1GiB,2.5GB/s,reverse"})
      CHECK_NOTHROW(device(kind + good));
    CHECK_THROWS_WITH(device(kind + ":0"), Contains(kind + ":0 has no size"));
    for (const std::string wrong : {"backward", "random", "random:", "random:x", "random:-1", "random:1x", "Forward", "", "64"})
      CHECK_THROWS_WITH(device(kind + ":0=1GiB," + wrong), Contains("has no option") && Contains("16GB/s") && Contains("random:SEED"));
    for (const std::string wrong : {":0=", ":0=0", ":=1GiB", ":-1=1GiB", ":x=1GiB", ":0=1GiB,fast/s", ":0=1GiB,/s"}) {
      INFO(kind << wrong);
      CHECK_THROWS_AS(device(kind + wrong), Error);
    }
  }
  CHECK_THROWS_WITH(device("emu32:0=1GiB"), Contains("emu:N=SIZE[,RATE]"));
  CHECK_THROWS_AS(make_device("emu:0=1GiB"), Error);
}

TEST_CASE("a transfer takes as long as the link would") {
  const auto slow = device("emu:0=64MiB,100MB/s");
  const Inside inside(*slow);
  constexpr int64_t kBytes = 3'000'000;
  const Buffer b = slow->allocate(kBytes);
  std::vector<std::byte> host(kBytes, std::byte{5}), back(kBytes);
  const auto seconds = [](auto&& f) {
    const auto start = std::chrono::steady_clock::now();
    f();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  CHECK(seconds([&] { slow->upload(b.data(), host.data(), kBytes); }) >= 0.03);
  CHECK(seconds([&] { slow->download(back.data(), b.data(), kBytes); }) >= 0.03);
  CHECK(back == host);
}

TEST_CASE("memory of an emulated device is there between enter and leave only") {
  const auto d = device("emu:0=64MiB,random:3"), other = device("emu64:1=64MiB");
  const Buffer before = d->allocate(100);
  CHECK(!readable(before.data()));
  {
    const Inside inside(*d);
    const Buffer within = d->allocate(1 << 20);
    for (const Buffer* b : {&before, &within}) {
      CHECK(reinterpret_cast<uintptr_t>(b->data()) % kDeviceAlignment == 0);
      CHECK(readable(b->data()));
      CHECK(readable(b->data() + b->size() - 1));
    }
    d->upload(before.data(), "abc", 4);
  }
  {
    const Inside inside(*other);
    CHECK(!readable(before.data()));
  }
  CHECK(!readable(before.data()));
  const Inside again(*d);
  CHECK(std::strcmp(reinterpret_cast<const char*>(before.data()), "abc") == 0);
}

TEST_CASE("a device runs kernels of its own, and names itself, kernel and shape when one is wrong") {
  Registry registry;
  fill_all(registry);
  const auto d = device("emu:0=64MiB,reverse");
  const Inside inside(*d);
  ThreadPool pool(2);
  const Kernel* add = registry.find("emu/add.1_thread");
  REQUIRE(add);
  const TensorDesc row = vector_of(DType::f32, 1000);
  const Problem p = problem(Add{}, {row, row});
  const Buffer x = d->allocate(4000), y = d->allocate(4000);
  std::vector<float> host(1000);
  std::iota(host.begin(), host.end(), 0.f);
  d->upload(x.data(), host.data(), 4000);
  const std::array in{TensorView{row, x.data()}, TensorView{row, x.data()}};
  const std::array out{TensorView{row, y.data()}};
  d->run(*add, p, {.in = in, .out = out, .pool = pool});
  d->download(host.data(), y.data(), 4000);
  for (size_t i = 0; i < 1000; ++i) CHECK(host[i] == 2 * static_cast<float>(i));
  Kernel wrong = *add;
  wrong.run = [](const Problem&, const Call&) { throw Error(ErrorKind::runtime, "dead-lock", "kernel add"); };
  CHECK_THROWS_WITH(d->run(wrong, p, {.in = in, .out = out, .pool = pool}), Contains("emu:0: dead-lock: emu/add.1_thread, kernel add"));
}
