/* SPDX-License-Identifier: MIT */
/* What docs/embedding.md says about exceptions in hooks: kept in the hook, thrown again after the call. */
#include <mglu/mglu.h>

#include <exception>
#include <stdexcept>
#include <utility>

namespace
{

struct Log {
    int lines = 0;
    std::exception_ptr error;

    void write(const char *)
    {
        lines++;
        throw std::runtime_error("the disk is full");
    }
};

void write_line(void *user, mglu_log_level, const char *text) noexcept
{
    Log &log = *static_cast<Log *>(user);
    try {
        log.write(text);
    } catch (...) {
        log.error = std::current_exception();
    }
}

void pick(Log &log)
{
    const mglu_logger logger = {&log, write_line, MGLU_LOG_DEBUG};
    mglu_context_desc desc = MGLU_CONTEXT_DESC_INIT;
    mglu_context *context = nullptr;
    mglu_device *device = nullptr;

    desc.logger = &logger;
    if (mglu_context_create(&desc, &context) != MGLU_OK)
        throw std::logic_error(mglu_last_error());
    const mglu_status status = mglu_device_pick(context, "cpu", &device);
    mglu_context_destroy(&context);
    if (log.error)
        std::rethrow_exception(std::exchange(log.error, nullptr));
    if (status != MGLU_OK)
        throw std::logic_error(mglu_last_error());
}

} // namespace

int main()
{
    Log log;
    try {
        pick(log);
    } catch (const std::runtime_error &) {
        return log.lines > 0 ? 0 : 1;
    }
    return 1;
}
