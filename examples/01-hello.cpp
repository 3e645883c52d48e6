/* SPDX-License-Identifier: MIT */
/*
 * 01-hello.c in C++17: objects are destroyed at the end of their scope, and errors are exceptions.
 *
 *     c++ -std=c++17 01-hello.cpp -o 01-hello $(pkg-config --cflags --libs mglu)
 *
 * It prints:
 *     y = -12.9805 13.9872
 */
#include <mglu/mglu.h>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>

namespace
{

/** An object of the library, as Handle<mglu_layer, mglu_layer_destroy>. */
template <typename T, void (*destroy)(T **)> struct Handle {
    T *object = nullptr;

    Handle() = default;
    Handle(const Handle &) = delete;
    Handle &operator=(const Handle &) = delete;
    ~Handle()
    {
        destroy(&object);
    }
};

void require(mglu_status status)
{
    if (status != MGLU_OK)
        throw std::runtime_error(std::string(mglu_status_string(status)) + ": " + mglu_last_error());
}

void compute()
{
    const float weight[2][3] = {{1, 2, 3}, {4, 5, 6}}, x[3] = {0.5f, -1, 2};
    const std::uint8_t mask[2][3] = {{1, 0, 1}, {0, 1, 1}};
    float y[2];

    mglu_weights_desc weights_desc = MGLU_WEIGHTS_DESC_INIT;
    weights_desc.hidden_size = 3;
    weights_desc.intermediate_size = 2;
    weights_desc.n_masks = 1;
    weights_desc.weight.data = weight;
    weights_desc.masks = {mask, MGLU_MASK_BYTES};
    mglu_layer_desc layer_desc = MGLU_LAYER_DESC_INIT;
    layer_desc.max_batch = 1;

    Handle<mglu_context, mglu_context_destroy> context;
    Handle<mglu_weights, mglu_weights_destroy> weights;
    Handle<mglu_layer, mglu_layer_destroy> layer;
    Handle<mglu_memory, mglu_memory_destroy> workspace;
    mglu_device *device = nullptr; /* belongs to the context */
    require(mglu_context_create(nullptr, &context.object));
    require(mglu_device_pick(context.object, "host", &device));
    require(mglu_weights_create(device, &weights_desc, &weights.object));
    require(mglu_layer_create(weights.object, &layer_desc, &layer.object));
    require(mglu_memory_create(device, mglu_layer_workspace_size(layer.object), &workspace.object));

    mglu_forward_args args = MGLU_FORWARD_ARGS_INIT;
    args.batch = 1;
    args.x.data = x;
    args.y.data = y;
    args.workspace = mglu_memory_data(workspace.object);
    args.workspace_size = mglu_memory_size(workspace.object);
    require(mglu_forward(layer.object, nullptr, &args));
    std::printf("y = %.4f %.4f\n", static_cast<double>(y[0]), static_cast<double>(y[1]));
}

} // namespace

int main()
{
    try {
        compute();
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
