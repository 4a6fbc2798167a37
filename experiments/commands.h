// One function per subcommand: takes its arguments, writes results to io, returns the exit code, throws Error.
#pragma once
#include <map>

#include "experiments/args.h"
#include "experiments/io.h"
#include "experiments/map_guard.h"
#include "experiments/session.h"

namespace kerf {

int run_command(const RunArgs& args, const Io& io);
int logits_command(const LogitsArgs& args, const Io& io);
int tokenize_command(const TokenizeArgs& args, const Io& io);
int inspect_command(const InspectArgs& args, const Io& io);
int bench_command(const BenchArgs& args, const Io& io);
int roof_command(const RoofArgs& args, const Io& io);
int perplexity_command(const PerplexityArgs& args, const Io& io);
int trace_command(const TraceArgs& args, const Io& io);
int plan_command(const PlanArgs& args, const Io& io);
int ladder_command(const LadderArgs& args, const Io& io);
int kernels_command(const KernelArgs& args, const Io& io);
int synth_command(const SynthArgs& args, const Io& io);
int version_command(const Io& io);

/// All kernels of this build.
Registry all_kernels();

/// The session these arguments ask for. @throws Error(usage) for values that mean nothing.
SessionOptions session_options(const ModelArgs& args);
KernelPolicy kernel_policy(const ModelArgs& args);
/// What --fuse takes besides all and none, as text: "swiglu, add, ...".
std::string fusion_names();

/// Bytes each device reads and writes at least for one pass of a plan (core/cost.h), with `depth` positions in the cache.
std::map<DeviceId, int64_t> bytes_per_pass(const Plan& plan, int64_t depth);

/// Warnings of a session to the log, and the one line that says what lies where.
void announce(Session& session, const Io& io);

/// A session that is about to compute: announced, its mapped file guarded, SIGINT heeded between steps.
class LiveSession {
 public:
  LiveSession(SessionOptions options, const Registry& registry, const Io& io);
  Session& operator*() { return session_; }

 private:
  Session session_;
  MapGuard guard_;
};

/// Set by SIGINT (main.cpp).
bool interrupted();
/// @throws Error(interrupted) after SIGINT: what long work calls between its parts.
void stop_if_interrupted();

}  // namespace kerf
