#include "experiments/watch.h"

#include "core/error.h"
#include "experiments/session.h"

namespace kerf {

Watch::Watch(const WatchArgs& args, Session& session, const Io& io, bool count) {
  const bool experts = has_experts(session);
  if (!args.dump_routing.empty() && !experts)
    throw Error(ErrorKind::usage, "the model has no experts that tokens could be routed to", "--dump-routing", "leave it out");
  if (experts && (count || !args.dump_routing.empty())) routing_.emplace(session, args.dump_routing, io.command);
  if (!args.capture_dir.empty()) capture_.emplace(session, args.capture, args.capture_dir, io);
}

std::optional<Routing::Touched> Watch::touched() const { return routing_ ? std::optional(routing_->touched()) : std::nullopt; }

void Watch::commit() {
  if (routing_) routing_->commit();
  if (capture_) capture_->commit();
}

}  // namespace kerf
