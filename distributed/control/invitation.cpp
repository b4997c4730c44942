#include "distributed/control/invitation.h"

#include <cstring>
#include <sstream>

#include "core/base/error.h"

namespace cohort::control {

std::string Invitation::to_bytes() const {
  std::string bytes(reinterpret_cast<const char*>(token.data()), token.size());
  bytes += std::to_string(port) + "\n" + host + "\n";
  for (const std::string& address : addresses) bytes += address + "\n";
  return bytes;
}

Invitation Invitation::from_bytes(const std::string& bytes) {
  Invitation invitation;
  const size_t size = invitation.token.size();
  std::istringstream lines(bytes.size() > size ? bytes.substr(size) : "");
  int port = 0;
  lines >> port;
  if (!lines || port < 1 || port > 65535 || lines.get() != '\n') throw Fault("control channel: rank 0's invitation is not readable");
  std::memcpy(invitation.token.data(), bytes.data(), size);
  invitation.port = static_cast<uint16_t>(port);
  std::getline(lines, invitation.host);
  for (std::string address; std::getline(lines, address);) invitation.addresses.push_back(address);
  return invitation;
}

std::vector<std::string> Invitation::targets(const std::string& from_host) const {
  std::vector<std::string> all;
  if (from_host == host) all = {"127.0.0.1", "::1"};
  all.insert(all.end(), addresses.begin(), addresses.end());
  return all;
}

}  // namespace cohort::control
