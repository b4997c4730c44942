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

/// Fault naming `what` where the bytes are something else.
template <class Message>
Message from_bytes(const std::string& bytes, const char* what) {
  Message message;
  if (!message.ParseFromString(bytes)) throw Fault(std::string(what) + ": a member sent something that is not a " + message.GetTypeName());
  return message;
}

}  // namespace cohort::pipeline
