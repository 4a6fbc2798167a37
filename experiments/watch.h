// What a run is watched for beside its result: where experts are touched, and values for notebooks.
#pragma once
#include <optional>

#include "experiments/args.h"
#include "experiments/capture.h"
#include "experiments/routing.h"

namespace kerf {

/// The observers that the command line asked for.
class Watch {
 public:
  /// @param count whether the touched experts are wanted, of a model that has any.
  /// @throws Error(usage) for --dump-routing of a model without experts, and as Capture does.
  Watch(const WatchArgs& args, Session& session, const Io& io, bool count = false);
  Watch(const Watch&) = delete;  // the session knows the observers by address
  Watch& operator=(const Watch&) = delete;
  /// Nothing if experts are not watched.
  std::optional<Routing::Touched> touched() const;
  /// To be called when the run has succeeded: puts the files in their places.
  void commit();

 private:
  std::optional<Routing> routing_;
  std::optional<Capture> capture_;
};

}  // namespace kerf
