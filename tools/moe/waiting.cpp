// How long threads that wait for each other spin before they sleep. libgomp's default, 300000 turns
// (5 ms here), makes steps up to 100 times slower as soon as another process takes a part of one
// core: the spinning thread uses up the time that its own next piece of work would need
// (docs/design/007-waiting-threads.md). libgomp reads the environment in its constructor and offers
// nothing to change it later, so the program starts itself once more with the variable set.

#include <alloca.h>
#include <cstring>
#include <features.h>
#include <initializer_list>
#include <sys/auxv.h>
#include <unistd.h>

#include <climits>

// Sanitizers start in the same place, and before them nothing of theirs may run.
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

namespace moe::tools {

namespace {

/// About 16 us on Zen 4, what lies between most parallel regions of a step.
char spin_count[] = "GOMP_SPINCOUNT=1000";

bool chosen_by_user(const char* entry) {
  for (const char* variable : {"OMP_WAIT_POLICY=", "GOMP_SPINCOUNT="})
    if (std::strncmp(entry, variable, std::strlen(variable)) == 0) return true;
  return false;
}

/// Runs after the libraries were mapped and before any of their constructors: a new start here
/// costs a tenth of one in main. No allocation and no libc state: those are not ready.
void start_again_with_short_spinning(int, char** arguments, char** environment) {
  size_t count = 0;
  for (; environment[count]; ++count)
    if (chosen_by_user(environment[count])) return;
  // Without an interpreter of its own: the dynamic linker was started with our name.
  if (getauxval(AT_BASE) == 0) return;
  char program[PATH_MAX + 1];
  const ssize_t length = ::readlink("/proc/self/exe", program, PATH_MAX);
  if (length <= 0) return;
  program[length] = '\0';
  auto** const extended = static_cast<char**>(alloca((count + 2) * sizeof(char*)));
  std::memcpy(extended, environment, count * sizeof(char*));
  extended[count] = spin_count;
  extended[count + 1] = nullptr;
  // Where it fails, the program works all the same and spins longer.
  ::execve(program, arguments, extended);
}

__attribute__((section(".preinit_array"),
               used)) void (*const before_everything)(int, char**,
                                                      char**) = start_again_with_short_spinning;

}  // namespace

}  // namespace moe::tools

#endif
