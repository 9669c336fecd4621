/* C++ threads that sleep in a lambda behind a virtual call, and in the handler of an exception that was thrown far below. */
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#include <pthread.h>

namespace deep {

using namespace std::chrono_literals;

struct Base {
    virtual ~Base() = default;
    virtual void work(int depth) = 0;
};

struct Sleeper : Base {
    [[gnu::noinline]] void work(int depth) override
    {
        std::function<void()> doze = [this, depth] {
            if (depth)
                work(depth - 1);
            else
                std::this_thread::sleep_for(20ms);
            count++;
        };
        doze();
        count++;
    }
    volatile int count = 0;
};

[[gnu::noinline]] static void throws(int depth)
{
    std::string held(40, 'x');
    if (!depth)
        throw std::runtime_error(held);
    throws(depth - 1);
    held.push_back('y');
}

[[gnu::noinline]] static void catches()
{
    Sleeper sleeper;
    try {
        throws(5);
    } catch (const std::runtime_error &) {
        sleeper.work(1);
    }
}

} // namespace deep

int main()
{
    std::thread lambda([] {
        pthread_setname_np(pthread_self(), "lambda");
        std::unique_ptr<deep::Base> base = std::make_unique<deep::Sleeper>();
        for (;;)
            base->work(3);
    });
    std::thread handler([] {
        pthread_setname_np(pthread_self(), "handler");
        for (;;)
            deep::catches();
    });
    std::puts("ready");
    std::fflush(stdout);
    char byte;
    while (read(0, &byte, 1) == 1)
        continue;
    _exit(0);
}
