#include "core/executor.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "core/error.h"

namespace kerf {
namespace {

/// Keeps a device entered for a scope, also when a step throws.
class Inside {
 public:
  explicit Inside(Device* device) : device_(device) { device_->enter(); }
  ~Inside() { device_->leave(); }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  Device* device_;
};

constexpr int64_t kStagingBytes = 1 << 20;

}  // namespace

Storage::Storage(const std::vector<Device*>& devices, const Graph& graph, const Placement& placement, const Weights& weights,
                 const Registry& registry, ThreadPool& pool, const Progress& progress) {
  for (Device* d : devices) devices_[d->id()].device = d;
  std::map<DeviceId, int64_t> need;
  std::map<std::string, std::string> tensor;  // weight -> tensor in the file
  std::map<std::string, int> users;           // homes that still want a tensor
  for (const auto& value : graph.values())
    if (value.kind == Kind::weight) tensor[value.name] = value.source, ++users[value.source];
  int64_t to_load = 0, loaded = 0;
  const auto in_place = [](const Home& home) { return home.kind == Kind::weight && home.device == kHost && !home.is_prepared(); };
  for (const auto& home : placement.homes) {
    if (in_place(home)) continue;
    need[home.device] += device_aligned(home.bytes());
    if (home.kind == Kind::weight) to_load += home.bytes();
  }
  for (const auto& [id, bytes] : need) devices_.at(id).homes = device(id).allocate(bytes);
  std::map<DeviceId, int64_t> used;
  std::vector<std::byte> staging;  // of a weight that is prepared for another device
  for (const auto& home : placement.homes) {
    if (in_place(home)) {
      // The kernels only read weights; the views carry void* because outputs do.
      homes_[home.name] = const_cast<std::byte*>(weights.source(tensor.at(home.name)).data());
      continue;
    }
    std::byte* at = devices_.at(home.device).homes.data() + used[home.device];
    used[home.device] += device_aligned(home.bytes());
    homes_[home.name] = at;
    if (home.kind != Kind::weight) continue;
    const std::string& name = tensor.at(home.name);
    const std::byte* bytes = weights.source(name).data();
    Device& target = device(home.device);
    if (home.is_prepared()) {
      const Problem p = problem(Convert{.to = home.stored}, {home.desc});
      std::byte* to = at;
      if (home.device != kHost) {
        staging.resize(static_cast<size_t>(home.bytes()));
        to = staging.data();
      }
      const TensorView in{home.desc, const_cast<std::byte*>(bytes)}, out{p.out[0], to};
      registry.find(home.prepared_by)->run(p, {.in = {&in, 1}, .out = {&out, 1}, .pool = pool});
      bytes = to;
    }
    if (home.device != kHost) {
      const Inside inside(&target);
      target.upload(at, bytes, home.bytes());
    }
    if (--users[name] == 0 && weights.done) weights.done(name);
    loaded += home.bytes();
    if (progress) progress(loaded, to_load);
  }
}

void Storage::reserve(const Plan& plan) {
  for (const auto& [id, memory] : plan.memory) {
    auto& mine = devices_.at(id);
    if (memory.arena > mine.arena.size()) {
      mine.arena = {};  // free first: the new one replaces it
      mine.arena = mine.device->allocate(memory.arena);
    }
  }
}

std::vector<std::byte> Storage::save(const Home& state) const {
  Device& from = device(state.device);
  std::vector<std::byte> bytes(static_cast<size_t>(state.bytes()));
  const Inside inside(&from);
  from.download(bytes.data(), home(state.name), state.bytes());
  return bytes;
}

void Storage::restore(const Home& state, std::span<const std::byte> bytes) const {
  KERF_CHECK(static_cast<int64_t>(bytes.size()) == state.bytes(), "a copy of " + state.name + " has another size");
  Device& to = device(state.device);
  const Inside inside(&to);
  to.upload(home(state.name), bytes.data(), state.bytes());
}

Device& Storage::device(const DeviceId& id) const {
  const auto it = devices_.find(id);
  if (it == devices_.end()) throw Error(ErrorKind::usage, fmt::format("there is no device \"{}\" in this run", id));
  return *it->second.device;
}

std::byte* Storage::home(const std::string& name) const { return homes_.at(name); }
std::byte* Storage::arena(const DeviceId& id) const { return devices_.at(id).arena.data(); }
int64_t Storage::taken(const DeviceId& id) const { return devices_.at(id).homes.size() + devices_.at(id).arena.size(); }

Program::Program(std::shared_ptr<const Graph> graph, std::shared_ptr<const Plan> plan, const Registry& registry, Storage& memory,
                 const std::map<std::string, std::byte*>& inputs)
    : graph_(std::move(graph)), plan_(std::move(plan)) {
  const Graph& g = *graph_;
  const auto view = [&](size_t index) -> TensorView {
    const Place& place = plan_->places[index];
    if (place.in_arena) return {place.desc, memory.arena(place.device) + place.offset};
    const auto& value = g[g.storage(place.value)];
    if (value.kind == Kind::input) return {place.desc, inputs.at(value.name)};
    return {place.desc, memory.home(value.name)};
  };
  const auto scratch = [&](const DeviceId& device, int64_t bytes) -> std::span<std::byte> {
    if (bytes == 0) return {};
    const auto arena = plan_->arena.find(device);
    return {memory.arena(device) + (arena == plan_->arena.end() ? 0 : arena->second), static_cast<size_t>(bytes)};
  };
  for (const auto& step : plan_->steps) {
    Action a;
    if (const auto* run = std::get_if<RunStep>(&step)) {
      a.device = &memory.device(run->device);
      a.kernel = registry.find(run->kernel);
      a.problem = &run->problem;
      for (const size_t i : run->in) a.in.push_back(view(i));
      for (const size_t i : run->out) a.out.push_back(view(i));
      a.scratch = scratch(run->device, run->scratch);
      a.name = &g.nodes()[run->node].name;
    } else if (const auto* copy = std::get_if<CopyStep>(&step)) {
      a.device = &memory.device(plan_->places[copy->from].device);
      a.target = &memory.device(plan_->places[copy->to].device);
      a.in = {view(copy->from)};
      a.out = {view(copy->to)};
      a.name = &g[plan_->places[copy->from].value].name;
      if (a.device->id() != kHost && a.target->id() != kHost)
        staging_.resize(static_cast<size_t>(std::min(kStagingBytes, std::max<int64_t>(copy->bytes, static_cast<int64_t>(staging_.size())))));
    } else {
      const auto& convert = std::get<ConvertStep>(step);
      a.device = &memory.device(convert.device);
      a.kernel = registry.find(convert.kernel);
      a.problem = &convert.problem;
      a.in = {view(convert.from)};
      a.out = {view(convert.to)};
      a.scratch = scratch(convert.device, convert.scratch);
      a.name = &g[plan_->places[convert.from].value].name;
    }
    actions_.push_back(std::move(a));
  }
  for (const size_t i : plan_->outputs) outputs_.push_back(view(i));
  for (size_t i = 0; i < actions_.size(); ++i) {
    if (actions_[i].target) continue;
    if (islands_.empty() || islands_.back().end != i || islands_.back().device != actions_[i].device)
      islands_.push_back({.device = actions_[i].device, .first = i, .end = i + 1});
    else
      islands_.back().end = i + 1;
  }
}

void Program::copy(const Action& a, ExecutorCounters& counters) {
  const int64_t bytes = a.in[0].desc.bytes();
  ++counters.copies;
  counters.copied_bytes += bytes;
  if (a.device->id() == kHost) {
    const Inside target(a.target);
    a.target->upload(a.out[0].data, a.in[0].data, bytes);
    return;
  }
  if (a.target->id() == kHost) {
    const Inside source(a.device);
    a.device->download(a.out[0].data, a.in[0].data, bytes);
    return;
  }
  for (int64_t done = 0; done < bytes; done += static_cast<int64_t>(staging_.size())) {
    const int64_t part = std::min<int64_t>(bytes - done, static_cast<int64_t>(staging_.size()));
    {
      const Inside source(a.device);
      a.device->download(staging_.data(), a.in[0].as<std::byte>() + done, part);
    }
    const Inside target(a.target);
    a.target->upload(a.out[0].as<std::byte>() + done, staging_.data(), part);
  }
}

void Program::launch(const Action& a, ThreadPool& pool) {
  a.device->run(*a.kernel, *a.problem, {.in = a.in, .out = a.out, .scratch = a.scratch, .pool = pool});
}

void Program::run_watched(const Island& island, ThreadPool& pool, std::span<Observer* const> observers, const std::function<void()>& after_step) {
  using Clock = std::chrono::steady_clock;
  for (size_t i = island.first; i < island.end; ++i) {
    const Action& a = actions_[i];
    const auto start = Clock::now();
    launch(a, pool);
    island.device->wait();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    for (Observer* o : observers) o->after({*plan_, *graph_, i, *a.name, a.out[0], a.out, *island.device, seconds});
    if (after_step) after_step();
  }
}

void Program::run_island(Island& island, ThreadPool& pool, ExecutorCounters& counters, const std::function<void()>& after_step) {
  const auto launch_all = [&] {
    for (size_t i = island.first; i < island.end; ++i) {
      launch(actions_[i], pool);
      if (after_step) after_step();
    }
  };
  // A shape that comes once (the rest of a prompt) is not worth a recording.
  if (island.runs++ == 1) island.recording = island.device->record(launch_all);
  if (!island.recording) return launch_all();
  island.recording->replay();
  ++counters.replays;
  if (after_step) after_step();
}

void Program::run(ThreadPool& pool, ExecutorCounters& counters, std::span<Observer* const> observers, const std::function<void()>& after_step) {
  using Clock = std::chrono::steady_clock;
  auto island = islands_.begin();
  for (size_t index = 0; index < actions_.size();) {
    if (island != islands_.end() && island->first == index) {
      const Inside inside(island->device);
      if (observers.empty())
        run_island(*island, pool, counters, after_step);
      else
        run_watched(*island, pool, observers, after_step);
      index = island->end;
      ++island;
      continue;
    }
    const Action& a = actions_[index];
    const auto start = observers.empty() ? Clock::time_point{} : Clock::now();
    copy(a, counters);
    if (!observers.empty()) {
      const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
      const Inside inside(a.target);
      for (Observer* o : observers) o->after({*plan_, *graph_, index, *a.name, a.out[0], a.out, *a.target, seconds});
    }
    ++index;
  }
  counters.steps += static_cast<int64_t>(actions_.size());
  if (after_step) after_step();
}

}  // namespace kerf
