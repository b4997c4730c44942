#pragma once
/// Records as bytes between members of a team.

#include <google/protobuf/message_lite.h>

#include <string>

#include "core/base/error.h"

namespace cohort::pipeline {

/// Fault where Protobuf gives up (more than 2 GiB).
inline std::string to_bytes(const google::protobuf::MessageLite& message) {
  std::string bytes;
  if (!message.SerializeToString(&bytes)) throw Fault(message.GetTypeName() + ": too large to be sent in one piece");
  return bytes;
}

/// Fault naming `what` and where the bytes are from, where they are something else.
template <class Message>
Message from_bytes(const std::string& bytes, const std::string& what, const std::string& from = "a member of the team") {
  Message message;
  if (!message.ParseFromString(bytes))
    throw Fault(what + ": expected a " + message.GetTypeName() + " from " + from + ", found something else");
  return message;
}

}  // namespace cohort::pipeline
